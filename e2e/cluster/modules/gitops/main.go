// Judges objects as kstatus, Argo CD and Flux do, with their own code, and tells differences as Argo CD does.
//
// Reads one JSON document from stdin, writes one to stdout. The first argument says what is asked:
//
//	judge  {"argo": {"group_Kind": "lua"}, "flux": [{"apiVersion","kind","current",...}], "objects": [{...}]}
//	       -> [{"kstatus","argo","argoMessage","flux"}], one for each object
//	diff   [{"wanted": {...}, "live": {...}}] -> [{"modified": bool, "patch": "..."}]
//
// Any error of an evaluator ends the program: a script that does not run is not "wrong", it is broken.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	appv1 "github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/gitops-engine/pkg/diff"
	"github.com/argoproj/gitops-engine/pkg/health"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type question struct {
	Argo    map[string]string             `json:"argo"`
	Flux    []kustomize.CustomHealthCheck `json:"flux"`
	Objects []json.RawMessage             `json:"objects"`
}

type verdict struct {
	Kstatus     string `json:"kstatus"`
	Argo        string `json:"argo"`
	ArgoMessage string `json:"argoMessage"`
	Flux        string `json:"flux"`
}

type pair struct {
	Wanted json.RawMessage `json:"wanted"`
	Live   json.RawMessage `json:"live"`
}

type difference struct {
	Modified bool            `json:"modified"`
	Live     json.RawMessage `json:"live"`
	Wanted   json.RawMessage `json:"wanted"`
}

func main() {
	if len(os.Args) != 2 {
		fail(fmt.Errorf("one argument: judge or diff"))
	}
	var answer any
	switch os.Args[1] {
	case "judge":
		answer = judged()
	case "diff":
		answer = compared()
	default:
		fail(fmt.Errorf("%q is neither judge nor diff", os.Args[1]))
	}
	must(json.NewEncoder(os.Stdout).Encode(answer))
}

func judged() []verdict {
	var asked question
	must(json.NewDecoder(os.Stdin).Decode(&asked))
	overrides := lua.ResourceHealthOverrides{}
	for key, script := range asked.Argo {
		overrides[key] = appv1.ResourceOverride{HealthLua: script}
	}
	checks := map[string]*cel.StatusEvaluator{}
	for _, check := range asked.Flux {
		evaluator, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
		must(err)
		checks[check.APIVersion+"/"+check.Kind] = evaluator
	}
	verdicts := make([]verdict, 0, len(asked.Objects))
	for _, raw := range asked.Objects {
		verdicts = append(verdicts, judge(object(raw), overrides, checks))
	}
	return verdicts
}

func judge(it *unstructured.Unstructured, overrides lua.ResourceHealthOverrides, checks map[string]*cel.StatusEvaluator) verdict {
	computed, err := kstatus.Compute(it.DeepCopy())
	must(err)
	said := verdict{Kstatus: string(computed.Status), Argo: "None", Flux: string(computed.Status)}
	state, err := health.GetResourceHealth(it.DeepCopy(), overrides)
	must(err)
	if state != nil {
		said.Argo, said.ArgoMessage = string(state.Status), state.Message
	}
	if check, ok := checks[it.GetAPIVersion()+"/"+it.GetKind()]; ok {
		result, err := check.Evaluate(context.Background(), it.DeepCopy())
		must(err)
		said.Flux = string(result.Status)
	}
	return said
}

func compared() []difference {
	var pairs []pair
	must(json.NewDecoder(os.Stdin).Decode(&pairs))
	found := make([]difference, 0, len(pairs))
	for _, one := range pairs {
		result, err := diff.Diff(object(one.Wanted), object(one.Live), diff.WithNormalizer(diff.GetNoopNormalizer()))
		must(err)
		found = append(found, difference{result.Modified, result.NormalizedLive, result.PredictedLive})
	}
	return found
}

func object(raw json.RawMessage) *unstructured.Unstructured {
	it := &unstructured.Unstructured{}
	must(it.UnmarshalJSON(raw))
	return it
}

func must(err error) {
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
