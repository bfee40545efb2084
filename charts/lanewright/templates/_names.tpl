{{- define "lanewright.labels" -}}
app.kubernetes.io/name: lanewright
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: lanewright
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "lanewright.selector" -}}
app.kubernetes.io/name: lanewright
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "lanewright.name" -}}
{{- if contains "lanewright" .Release.Name }}{{ .Release.Name }}{{ else }}{{ printf "%s-lanewright" .Release.Name }}{{ end -}}
{{- end }}

{{- /* Names of objects outside of a namespace carry the release's namespace: two installations never share one. */ -}}
{{- define "lanewright.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "lanewright.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "lanewright.subject" -}}
- kind: ServiceAccount
  name: {{ include "lanewright.name" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{- /* Says what to do where the API server would only say that a namespace is not found. Without a cluster to ask (helm
template, Argo CD) nothing is known, and who installs for some namespaces alone may not be allowed to ask. */ -}}
{{- define "lanewright.servedAreThere" -}}
{{- if and (not .Values.watchNamespaces) (lookup "v1" "Namespace" "" "kube-system") }}
{{- range .Values.servedNamespaces }}
{{- if not (lookup "v1" "Namespace" "" .) }}
{{- fail (printf "servedNamespaces: there is no namespace %s, and the operator's rights go into it: kubectl create namespace %s" . .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* What the operator does with its own kinds and with a lane's children; Secrets are elsewhere. */ -}}
{{- define "lanewright.rules" -}}
- apiGroups: [lanewright.dev]
  resources: [sendinglanes, ippools, isppolicies]
  verbs: [list, watch]
- apiGroups: [lanewright.dev]
  resources: [sendinglanes, ippools]
  verbs: [patch]        # their finalizers
- apiGroups: [lanewright.dev]
  resources: [sendinglanes/status, ippools/status, isppolicies/status]
  verbs: [patch]
- apiGroups: [lanewright.dev]
  resources: [sendinglanes/finalizers]
  verbs: [update]       # blockOwnerDeletion on children
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, serviceaccounts, configmaps, persistentvolumeclaims]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]          # whether a lane goes because its namespace does
{{- if has "Multus" .Values.rights.engines }}
- apiGroups: [k8s.cni.cncf.io]
  resources: [network-attachment-definitions]
  verbs: [list, watch, create, patch, delete]
{{- end }}
{{- if has "Cilium" .Values.rights.engines }}
- apiGroups: [cilium.io]
  resources: [ciliumnetworkpolicies]
  verbs: [list, watch, create, patch, delete]
{{- end }}
{{- if .Values.rights.monitoring }}
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors, prometheusrules]
  verbs: [list, watch, create, patch, delete]
{{- end }}
{{- if .Values.rights.certificates }}
- apiGroups: [cert-manager.io]
  resources: [certificates]
  verbs: [list, watch, create, patch, delete]
{{- end }}
{{- if .Values.rights.dnsEndpoints }}
- apiGroups: [externaldns.k8s.io]
  resources: [dnsendpoints]
  verbs: [list, watch, create, patch]      # it stays when its lane goes
{{- end }}
{{- end }}

{{- define "lanewright.volumes" -}}
{{- if and .Values.rights.volumes (not .Values.watchNamespaces) }}true{{ end -}}
{{- end }}

{{- define "lanewright.engines" -}}
{{- $engines := list -}}
{{- range .Values.rights.engines -}}
{{- if or (ne . "HostNetwork") $.Values.rights.nodes }}{{ $engines = append $engines . }}{{ end -}}
{{- end -}}
{{- join "," $engines -}}
{{- end }}

{{- define "lanewright.pullSecrets" -}}
{{- $names := list -}}
{{- range .Values.imagePullSecrets }}{{ $names = append $names .name }}{{ end -}}
{{- join "," $names -}}
{{- end }}

{{- define "lanewright.monitoringLabels" -}}
{{- $labels := list -}}
{{- range $name, $value := .Values.monitoring.labels }}{{ $labels = append $labels (printf "%s=%s" $name $value) }}{{ end -}}
{{- join "," $labels -}}
{{- end }}

{{- define "lanewright.dnsDomains" -}}
{{- $pairs := list -}}
{{- range $namespace, $domains := .Values.dns.domains }}{{ range $domains }}{{ $pairs = append $pairs (printf "%s=%s" $namespace .) }}{{ end }}{{ end -}}
{{- join "," $pairs -}}
{{- end }}
