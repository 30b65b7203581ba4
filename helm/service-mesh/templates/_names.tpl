{{- /* The name of everything; what is not in a namespace carries the namespace in its name, unless it is the usual one. */ -}}
{{- define "mesh.name" -}}service-mesh-controller{{- end -}}
{{- define "mesh.clusterName" -}}
service-mesh-controller{{ if not (has .Release.Namespace (list "" "service-mesh-system")) }}-{{ .Release.Namespace }}{{ end }}
{{- end -}}
{{- define "mesh.labels" -}}
app.kubernetes.io/name: service-mesh-controller
app.kubernetes.io/part-of: service-mesh
{{- end -}}
{{- /* What Helm makes once the release is gone, in this place among the others, and takes away again. */ -}}
{{- define "mesh.afterwards" -}}
helm.sh/hook: post-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
{{- end -}}
{{- /* What the restricted standard of pod security asks of a pod and of its container. */ -}}
{{- define "mesh.restrictedPod" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}
{{- define "mesh.restrictedContainer" -}}
allowPrivilegeEscalation: false
capabilities:
  drop:
  - ALL
readOnlyRootFilesystem: true
{{- end -}}
