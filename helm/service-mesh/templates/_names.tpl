{{- /* The name of everything; what is not in a namespace carries the namespace in its name, unless it is the usual one. */ -}}
{{- define "mesh.name" -}}service-mesh-controller{{- end -}}
{{- define "mesh.clusterName" -}}
service-mesh-controller{{ if not (has .Release.Namespace (list "" "service-mesh-system")) }}-{{ .Release.Namespace }}{{ end }}
{{- end -}}
{{- define "mesh.labels" -}}
app.kubernetes.io/name: service-mesh-controller
app.kubernetes.io/part-of: service-mesh
{{- end -}}
