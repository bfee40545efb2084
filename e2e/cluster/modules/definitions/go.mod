module lanewright.dev/e2e/definitions

go 1.26.0

require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/kedacore/keda/v2 v2.21.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
	k8s.io/kubernetes v1.35.4
	sigs.k8s.io/external-dns v0.22.0
)
