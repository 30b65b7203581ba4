//go:build tools

// Names the program that is built from this folder's go.mod.
package tools

import _ "sigs.k8s.io/gateway-api/conformance"
