// Provisions local volumes: a folder of this machine for each claim, on the node that the scheduler has chosen.
//
// `volumes KUBECONFIG FOLDER`: a claim's files lie in FOLDER/<node>/vol/<volume>_<namespace>_<claim>. All nodes of a
// local cluster are on one machine, so that a folder is made and removed here and at once; a provisioner that has to
// start a pod for either takes several seconds and a second of CPU, for every claim of every test.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v10/controller"
)

const (
	provisionerName = "lanewright.dev/volumes"
	nodeLabel       = "kubernetes.io/hostname"
)

type volumes struct {
	folder string
}

// Provision makes the folder and returns the volume that leads to it.
func (v volumes) Provision(
	_ context.Context, asked controller.ProvisionOptions,
) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	if asked.SelectedNode == nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("no node was chosen: the class must wait for a first consumer")
	}
	node, claim := asked.SelectedNode.Name, asked.PVC
	name := strings.Join([]string{asked.PVName, claim.Namespace, claim.Name}, "_")
	path := filepath.Join(v.folder, node, "vol", name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	if err := os.Chmod(path, 0o777); err != nil { // fsGroup does nothing for a folder of the host
		return nil, controller.ProvisioningFinished, err
	}
	kind := v1.HostPathDirectory
	here := v1.NodeSelectorRequirement{Key: nodeLabel, Operator: v1.NodeSelectorOpIn, Values: []string{node}}
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: asked.PVName},
		Spec: v1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *asked.StorageClass.ReclaimPolicy,
			AccessModes:                   claim.Spec.AccessModes,
			VolumeMode:                    claim.Spec.VolumeMode,
			Capacity:                      v1.ResourceList{v1.ResourceStorage: claim.Spec.Resources.Requests[v1.ResourceStorage]},
			PersistentVolumeSource:        v1.PersistentVolumeSource{HostPath: &v1.HostPathVolumeSource{Path: path, Type: &kind}},
			NodeAffinity: &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{
				{MatchExpressions: []v1.NodeSelectorRequirement{here}},
			}}},
		},
	}, controller.ProvisioningFinished, nil
}

// Delete removes the folder with all that is in it; another's folder is never touched.
func (v volumes) Delete(_ context.Context, volume *v1.PersistentVolume) error {
	if volume.Spec.HostPath == nil {
		return fmt.Errorf("volume %s is none of ours: it has no hostPath", volume.Name)
	}
	path := filepath.Clean(volume.Spec.HostPath.Path)
	if !strings.HasPrefix(path, filepath.Clean(v.folder)+string(filepath.Separator)) {
		return fmt.Errorf("volume %s is none of ours: %s is not below %s", volume.Name, path, v.folder)
	}
	return os.RemoveAll(path)
}

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("two arguments: kubeconfig and the folder that holds the nodes' folders"))
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	fail(err)
	client, err := kubernetes.NewForConfig(config)
	fail(err)
	ours := volumes{os.Args[2]}
	ctx := context.Background()
	controller.NewProvisionController(
		klog.FromContext(ctx), client, provisionerName, ours, controller.LeaderElection(false),
	).Run(ctx)
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
