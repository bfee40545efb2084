"""Where the API server is and how we prove who we are, as kubernetes.aio loads it."""

from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from lane_operator.errors import UnavailableError

__all__ = ["configuration"]


async def configuration() -> Configuration:
    """The pod's service account, whose token the library reads again every minute; outside of a pod, KUBECONFIG.

    Raises UnavailableError where there is neither.
    """
    # each namespace of users' Secrets has a watch, which keeps its connection: with the library's limit of 100 every
    # request would wait behind them, the Lease's renewal among them. How many ask at once, our workers limit.
    # by default aiohttp looks for .netrc and proxies in the environment at every request, half of a request's CPU; a
    # proxy that the kubeconfig names is used all the same
    found = Configuration(connection_pool_maxsize=0, client_session_kwargs={"trust_env": False})
    try:
        load_incluster_config(client_configuration=found)
    except ConfigException as in_pod:
        try:
            await load_kube_config(client_configuration=found)
        except ConfigException as outside:
            raise UnavailableError(f"no service account ({in_pod}) and no kubeconfig ({outside})") from outside
    return found
