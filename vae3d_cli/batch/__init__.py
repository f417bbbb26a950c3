"""Many clips: which they are, where they go, and the loop over them."""

from vae3d_cli.batch.cluster import Cluster, Resources
from vae3d_cli.batch.collisions import Use, check_apart, refuse_collisions
from vae3d_cli.batch.existing import Policy, judge_converted
from vae3d_cli.batch.finding import PICTURE_SUFFIXES, VIDEO_SUFFIXES, Findings, Found, find_clips, is_several
from vae3d_cli.batch.listing import read_list
from vae3d_cli.batch.manifests import open_manifests
from vae3d_cli.batch.naming import PAGE, TABLE, VIDEO, Kind, check_suffix, is_still, latents_kind, names_folder
from vae3d_cli.batch.planning import Clip, plan_clips
from vae3d_cli.batch.processes import Processes
from vae3d_cli.batch.run import Engine, InProcess, check_clips, encode_clips
from vae3d_cli.batch.tasks import Outcome
from vae3d_cli.batch.verify import Stored, Verdict, find_latents, verify
from vae3d_cli.batch.workers import ModelSource, local_sources

__all__ = [
    "PAGE",
    "PICTURE_SUFFIXES",
    "TABLE",
    "VIDEO",
    "VIDEO_SUFFIXES",
    "Clip",
    "Cluster",
    "Engine",
    "Findings",
    "Found",
    "InProcess",
    "Kind",
    "ModelSource",
    "Outcome",
    "Policy",
    "Processes",
    "Resources",
    "Stored",
    "Use",
    "Verdict",
    "check_apart",
    "check_clips",
    "check_suffix",
    "encode_clips",
    "find_clips",
    "find_latents",
    "is_several",
    "is_still",
    "judge_converted",
    "latents_kind",
    "local_sources",
    "names_folder",
    "open_manifests",
    "plan_clips",
    "read_list",
    "refuse_collisions",
    "verify",
]
