# What kind's nodes lack: the CNI plugins that lanes' egress needs, and Multus from the pinned module.
# Context: e2e/cluster/modules/multus
FROM golang:1.26-bookworm AS multus
WORKDIR /src
COPY go.mod go.sum ./
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /out/multus \
      gopkg.in/k8snetworkplumbingwg/multus-cni.v4/cmd/multus \
 && cp "$(go list -m -f '{{.Dir}}' gopkg.in/k8snetworkplumbingwg/multus-cni.v4)/deployments/multus-daemonset.yml" /out/

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends containernetworking-plugins \
 && rm -rf /var/lib/apt/lists/* \
 && mkdir /cni && cp /usr/lib/cni/* /cni/
COPY --from=multus /out/multus /out/multus-daemonset.yml /cni/
