module lanewright.dev/e2e/cilium

go 1.25.0

// its CustomResourceDefinitions, which no program of ours is built from
require github.com/cilium/cilium v1.20.2
