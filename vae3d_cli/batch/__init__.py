"""Many clips: which they are, where they go, and the loop over them."""

from vae3d_cli.batch.cluster import Cluster, Resources
from vae3d_cli.batch.existing import Policy, judge_converted
from vae3d_cli.batch.finding import Findings, Found, find_clips, is_several
from vae3d_cli.batch.listing import read_list
from vae3d_cli.batch.manifests import open_manifests
from vae3d_cli.batch.planning import Clip, plan_clips
from vae3d_cli.batch.processes import Processes
from vae3d_cli.batch.run import Engine, InProcess, check_clips, encode_clips
from vae3d_cli.batch.tasks import Outcome
from vae3d_cli.batch.verify import Stored, Verdict, find_latents, verify
from vae3d_cli.batch.workers import ModelSource, local_sources

__all__ = [
    "Clip",
    "Cluster",
    "Engine",
    "Findings",
    "Found",
    "InProcess",
    "ModelSource",
    "Outcome",
    "Policy",
    "Processes",
    "Resources",
    "Stored",
    "Verdict",
    "check_clips",
    "encode_clips",
    "find_clips",
    "find_latents",
    "is_several",
    "judge_converted",
    "local_sources",
    "open_manifests",
    "plan_clips",
    "read_list",
    "verify",
]
