package loop_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/libloop/libloop/"

// allowed are the imports within the module, package by package: the arrows of docs/design.md.
var allowed = map[string][]string{
	"capi": {"include", "loop", "loop/request"},
	"loop": {
		"loop/request", "loop/backend", "loop/backend/epoll", "loop/backend/uring", "loop/backend/pool",
		"loop/internal/sys", "loop/internal/wheel",
	},
	"loop/backend": {"loop/request", "loop/internal/sys"},
	"loop/backend/epoll": {
		"loop/request", "loop/backend", "loop/backend/pool", "loop/internal/sys", "loop/internal/fdtable",
	},
	"loop/backend/uring": {
		"loop/request", "loop/backend", "loop/backend/pool", "loop/internal/sys", "loop/internal/fdtable",
	},
	"loop/backend/pool":     {"loop/request", "loop/backend", "loop/internal/sys"},
	"loop/internal/sys":     {},
	"loop/internal/sim":     {"loop/internal/sys"},
	"loop/internal/wheel":   {"loop/request"},
	"loop/internal/fdtable": {},
	"loop/request":          {},
	"include":               {},
}

// systemCalls are packages through which a system call can be made.
var systemCalls = map[string]bool{
	"syscall": true, "os": true, "net": true, "golang.org/x/sys/unix": true, "golang.org/x/sys/windows": true,
}

// heavy are packages that would double the size of the library.
var heavy = map[string]bool{"fmt": true, "net": true, "os": true, "log": true, "reflect": true}

func TestImportsFollowTheArrows(t *testing.T) {
	visited := 0
	eachImport(t, func(pkg, file, path string) {
		visited++
		local, ours := strings.CutPrefix(path, module)
		switch {
		case ours && !contains(allowed[pkg], local):
			t.Errorf("%s: package %s must not import %s", file, pkg, local)
		case systemCalls[path] && pkg != "loop/internal/sys":
			t.Errorf("%s: only loop/internal/sys makes system calls, not %s with %s", file, pkg, path)
		case heavy[path]:
			t.Errorf("%s: %s is too heavy for the engine", file, path)
		}
		if _, known := allowed[pkg]; !known {
			t.Errorf("%s: package %s has no place in the architecture", file, pkg)
		}
	})
	if visited < 20 {
		t.Fatalf("looked at %d imports only", visited)
	}
}

// eachImport calls visit for every import of every file that is not a test.
func eachImport(t *testing.T, visit func(pkg, file, path string)) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	walk := func(file string, entry fs.DirEntry, err error) error {
		name := entry.Name()
		if err != nil || entry.IsDir() && (strings.HasPrefix(name, ".") || name == "build") {
			return fs.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		pkg, _ := filepath.Rel(root, filepath.Dir(file))
		for _, spec := range parsed.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			visit(pkg, file, path)
		}
		return nil
	}
	if err := filepath.WalkDir(root, walk); err != nil {
		t.Fatal(err)
	}
}

func contains(list []string, item string) bool {
	for _, other := range list {
		if other == item {
			return true
		}
	}
	return false
}
