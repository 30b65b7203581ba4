//go:build tools

// Names the program that is built from this folder's go.mod.
package tools

import _ "helm.sh/helm/v4/cmd/helm"
