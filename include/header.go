// Package include holds the public C header of libloop.
//
// Go code never needs its text. The package exists so that the header is an input of the Go build: the
// build cache of cmd/go knows the files of packages only, and would otherwise reuse objects compiled
// against an older loop.h (golang/go#24355).
package include

import _ "embed"

//go:embed loop.h
var _ string
