"""The `app` command: its options, turned into a server."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from sam2_video import cli_options as o
from sam2_video.types import ConfigError, SourceError

EXAMPLES = "Examples:\n\nsam2-video app\n\nsam2-video app clips/ --model sam2.1_hiera_tiny --device cuda"
Folder = Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Clips and pictures that pages may open.")]
Host = Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen; others can reach 0.0.0.0.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 is any that is free.")]
UploadLimit = Annotated[str, typer.Option(metavar="SIZE", help="Of one uploaded file.")]
State = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where work and uploads are kept; in the user's data if left out."),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="CPU threads; left out: all cores but one.", rich_help_panel=o.MODEL),
]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Only print the address.")]


def app(
    folder: Folder = Path(),
    host: Host = "127.0.0.1",
    port: Port = 0,
    model: o.Model = "nano",
    device: o.Device = None,
    dtype: o.DtypeOption = "float32",
    threads: Threads = None,
    upload_limit: UploadLimit = "2GB",
    state: State = None,
    no_browser: NoBrowser = False,
) -> None:
    """Click objects in a page of the browser, track them, correct, and take the masks home.

    Prints an address that only this machine answers at; who has it can open the clips of FOLDER.

    Work is kept as it is done, and is there again at the next start. Ends with Ctrl-C.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"the app needs more packages: pip install 'sam2_video[app]' ({error})") from error
    from sam2_video.app.server import serve
    from sam2_video.app.settings import AppSettings, parse_bytes, state_folder

    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder; expected one with clips and pictures")
    kept = (state or state_folder(folder)).resolve()
    settings = AppSettings(folder.resolve(), kept, model, device, dtype, threads, parse_bytes(upload_limit))
    with suppress(KeyboardInterrupt):  # the way to end it
        serve(settings, host, port, lambda address: _announce(address, no_browser))


def _announce(address: str, quiet: bool) -> None:
    import webbrowser
    from threading import Thread

    typer.echo(address)
    if not quiet:
        # Beside the server: a browser of the terminal would hold it up.
        Thread(target=webbrowser.open, args=(address,), daemon=True).start()
