"""Track many clips on a Ray cluster, or on the cores of this machine: one clip, one process, one thread.

python demos/ray_many_clips.py clips/*.mp4 --out out

Beside each clip lies what to track, CLIP.json: [{"frame": 0, "object": 1, "points": [[420, 260]]}], or what
else read_prompts knows, with its suffix as --prompts. What is done is not done again: the same command goes
on where one was ended. On a cluster (--address auto) all machines must see the same folders.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import sam2_video
from sam2_video.sinks import MaskPngSink, ObjectsCsvSink

DONE = "objects.csv"  # comes last, and is there whole or not at all


class Tracker:
    """Lives in a process of its own, with a model of its own, and tracks one clip after the other."""

    def __init__(self, model: str) -> None:
        import torch

        torch.set_num_threads(1)  # as many clips at once as there are cores keep them all busy
        self.predictor = sam2_video.VideoPredictor.from_pretrained(model)

    def track(self, clip: Path, prompts: Path, out: Path) -> tuple[Path, int, str]:
        """Return the clip, how many frames were tracked, and what went wrong with it."""
        frames = 0
        try:
            said = sam2_video.read_prompts(prompts, clip=clip)
            with (
                self.predictor.open(clip, retain="window") as session,
                MaskPngSink(out / "masks") as masks,
                ObjectsCsvSink(out / DONE) as table,
            ):
                for placed in said:
                    session.prompt(frame=placed.frame, object_id=placed.object_id, **placed.arguments())
                for result in session.propagate():
                    rgb, name = session.source.read(result.frame), session.source.frame_name(result.frame)
                    masks.write(rgb, result, name)
                    table.write(rgb, result, name)
                    frames += 1
        except sam2_video.Sam2VideoError as error:  # one broken clip does not end the others
            return clip, frames, str(error)
        return clip, frames, ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path, help="video files, or folders of pictures")
    parser.add_argument("--out", type=Path, required=True, help="a folder below it for each clip")
    parser.add_argument("--prompts", default=".json", help="suffix of the files that say what to track")
    parser.add_argument("--address", help="of a running cluster, or auto; left out: this machine alone")
    parser.add_argument("--processes", type=int, help="how many; left out: as many as there are cores")
    parser.add_argument("--model", default="nano")
    arguments = parser.parse_args()
    try:
        import ray
        from ray.util import ActorPool
    except ImportError:
        sys.exit("this demo needs Ray: pip install 'sam2_video[ray]'")

    names = [clip.stem for clip in arguments.clips]
    if twice := {name for name in names if names.count(name) > 1}:
        parser.error(f"two clips are called {', '.join(sorted(twice))}: their results have one folder")
    jobs = [
        (clip.resolve(), clip.resolve().with_suffix(arguments.prompts), arguments.out.resolve() / clip.stem)
        for clip in arguments.clips  # a process on another machine has another working folder
    ]
    left = [job for job in jobs if not (job[2] / DONE).exists()]
    if len(left) < len(jobs):
        print(f"{len(jobs) - len(left)} of {len(jobs)} clips are done already")
    if not left:
        return

    model = str(Path(arguments.model).resolve()) if Path(arguments.model).exists() else arguments.model
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a run tells nobody that it ran
    alone = {} if arguments.address else {"num_cpus": arguments.processes, "include_dashboard": False}
    ray.init(address=arguments.address, **alone)
    failed = 0
    try:
        cores = int(ray.cluster_resources()["CPU"])
        # A process that dies, for lack of memory say, is replaced, and its clip begun anew.
        actor = ray.remote(num_cpus=1, max_restarts=2, max_task_retries=2)(Tracker)
        pool = ActorPool([actor.remote(model) for _ in range(min(arguments.processes or cores, len(left)))])
        for clip, frames, error in pool.map_unordered(lambda worker, job: worker.track.remote(*job), left):
            failed += bool(error)
            print(f"{clip.name}: {error or f'{frames} frames'}", flush=True)
    except ray.exceptions.RayError as error:  # the model cannot be loaded, or a process died again and again
        sys.exit(f"error: {error}")
    finally:
        ray.shutdown()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
