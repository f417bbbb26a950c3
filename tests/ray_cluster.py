"""A Ray cluster on this machine: a head that does no work, and two nodes of one CPU each.

`python -m tests.ray_cluster` prints its address and the process of each node's raylet; it ends with its input.
"""

import json
import os
import sys

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - by default 15, with which all else on the machine goes first

from ray.cluster_utils import Cluster

STORE_BYTES = 100 << 20  # by default a third of the machine each
head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES}
cluster = Cluster(initialize_head=True, head_node_args=head)
nodes = [cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES) for _ in range(2)]
cluster.wait_for_nodes()
raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)
sys.stdin.read()
cluster.shutdown()  # type: ignore[no-untyped-call]
