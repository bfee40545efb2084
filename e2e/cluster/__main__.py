"""The command line of the cluster: up, down, status, images, load, kubectl, env."""

import os
import shlex
import subprocess
import sys

import click
from rich.table import Table

from e2e.cluster.choose import open_cluster
from e2e.cluster.errors import ClusterError
from e2e.cluster.identity import Purpose
from e2e.cluster.images import OURS
from e2e.cluster.kinds import Cluster
from e2e.cluster.progress import CONSOLE, note


@click.group(help=__doc__)
def cli() -> None:
    """Hold the commands together."""


def _open(*, say: bool = False) -> Cluster:
    cluster, why = open_cluster()
    if say:
        CONSOLE.print(f"cluster {cluster.layout.id}, kind [bold]{cluster.kind}[/] ({why})")
    return cluster


@cli.command()
def up() -> None:
    """Bring the cluster up, or repair it."""
    cluster = _open(say=True)
    cluster.up()
    note(f'next: eval "$({_self()} env)"; kubectl get pods -A')


@cli.command()
def down() -> None:
    """Remove this checkout's clusters, also what tests and benchmarks have left, and every trace of them."""
    _open(say=True).down()
    for purpose in (one for one in Purpose if one is not Purpose.LOOK and not os.environ.get("CLUSTER_ID")):
        cluster, _ = open_cluster(purpose=purpose)
        if cluster.layout.state.exists():
            cluster.down()


@cli.command()
def status() -> None:
    """Show programs, nodes and CPU weights; exit status 1 when something is missing."""
    cluster = _open(say=True)
    table = Table(box=None)
    for title in ("what", "state", "detail"):
        table.add_column(title, overflow="fold")
    for row in cluster.status():
        table.add_row(*row)
    CONSOLE.print(table)
    sys.exit(0 if cluster.running() else 1)


@cli.command()
@click.argument("names", nargs=-1)
def images(names: tuple[str, ...]) -> None:
    """Build images (all of ours by default), and load them if the cluster is up."""
    cluster = _open(say=True)
    act = cluster.load if cluster.running() else cluster.build
    for name, reference in act(names or OURS).items():
        note(f"{name}: {reference}")


@cli.command()
@click.argument("name")
def program(name: str) -> None:
    """Print where kubectl, helm, etcdutl, kwok or prometheus-operator lies (the last three are built on demand)."""
    click.echo(_open().program(name))


@cli.command()
@click.argument("names", nargs=-1)
def load(names: tuple[str, ...]) -> None:
    """Build images and put them on every node (all of ours by default)."""
    for name, reference in _open(say=True).load(names or OURS).items():
        note(f"{name}: {reference}")


# everything after the word belongs to kubectl, also `--` and --help
@cli.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def kubectl(arguments: tuple[str, ...]) -> None:
    """Run kubectl on the cluster."""
    cluster = _open()
    program = str(cluster.layout.bin / "kubectl")
    environment = {
        **os.environ,
        "KUBECONFIG": str(cluster.kubeconfig),
        "KUBECACHEDIR": str(cluster.layout.kubectl_cache),
    }
    sys.exit(subprocess.run([program, *arguments], check=False, env=environment).returncode)


@cli.command()
def env() -> None:
    """Print the shell commands that let kubectl and helm find the cluster."""
    cluster = _open()
    click.echo(f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}")
    click.echo(f"export KUBECACHEDIR={shlex.quote(str(cluster.layout.kubectl_cache))}")
    click.echo(f"export PATH={shlex.quote(str(cluster.layout.bin))}:$PATH")


def _self() -> str:
    near = os.path.relpath(sys.executable)
    return f"{sys.executable if near.startswith('..') else near} -m e2e.cluster"


def main() -> None:
    """Run a command; an error of the cluster is two sentences, not a traceback."""
    try:
        cli(standalone_mode=True)
    except ClusterError as error:
        CONSOLE.print(f"error: {error}", style="red", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
