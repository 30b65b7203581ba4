//go:build tools

// Names the program that is built from this folder's go.mod.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
