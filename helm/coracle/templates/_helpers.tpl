{{/* Names, labels and the image. */}}
{{- define "coracle.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "coracle.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "coracle.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "coracle.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "coracle.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{- define "coracle.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "coracle.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "coracle.selectorLabels" -}}
app.kubernetes.io/name: {{ include "coracle.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "coracle.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "coracle.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "coracle.image" -}}
{{- $name := .Values.image.repository }}
{{- if .Values.image.registry }}{{ $name = printf "%s/%s" .Values.image.registry $name }}{{ end }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $name .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* Where the pod listens: on loopback, unless a scraper has to reach it. */}}
{{- define "coracle.stayAddress" -}}
{{- if .Values.podMonitor.enabled }}$(HOST_IP){{ else }}127.0.0.1{{ end }}:{{ .Values.metrics.port }}
{{- end }}

{{- define "coracle.rules" -}}
# What the installer's node shows: label, annotation, taint, cordon. All of them are patches.
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, patch]
{{- if .Values.install.switch.drain.enabled }}
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
{{- end }}
{{- end }}

{{/* The part of a pod that installs, and of the one that uninstalls. */}}
{{- define "coracle.podBase" -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: true
# The host's PID 1 is entered to run systemctl.
hostPID: true
# The node's CNI may be down while its runtime is switched; and the daemon's metrics are on the node's loopback.
hostNetwork: true
dnsPolicy: ClusterFirstWithHostNet
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
terminationGracePeriodSeconds: {{ .root.Values.terminationGracePeriodSeconds }}
tolerations:
  - key: coracle.io/switching
    operator: Exists
  {{- with .root.Values.tolerations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "coracle.env" -}}
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: HOST_IP
  valueFrom:
    fieldRef:
      fieldPath: status.hostIP
- name: CORACLE_INSTALLER_HOST_ROOT
  value: /host
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "coracle.hostVolume" -}}
# Everything that is installed lies below the host's root; the record says where.
- name: host
  hostPath:
    path: {{ .Values.install.hostRoot }}
    type: Directory
# The program's few temporary files: its own root is read-only.
- name: tmp
  emptyDir:
    medium: Memory
    sizeLimit: 16Mi
{{- end }}

{{- define "coracle.hostMount" -}}
- name: host
  mountPath: /host
  # Mounts that the host makes later are seen, so that nothing is removed below one.
  mountPropagation: HostToContainer
- name: tmp
  mountPath: /tmp
{{- end }}

{{- define "coracle.probe" -}}
{{- if not .Values.podMonitor.enabled }}
host: 127.0.0.1
{{- end }}
port: {{ .Values.metrics.port }}
{{- end }}
