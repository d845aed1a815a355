// Command notice writes NOTICE: the licences of the modules that aptlyd is built of, and of
// the libraries that the console serves. It fails where it finds no licence, or one that it
// does not know, so that a new dependency is looked at before it is shipped.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	program = "./cmd/aptlyd"
	library = "console/assets/lib"
	rule    = "--------------------------------------------------------------------------------"
)

// systems are all that a release is built for: a module of one is in the notice of every one.
var systems = []string{"linux", "darwin", "freebsd"}

func main() {
	out := flag.String("o", "NOTICE", "file to write")
	flag.Parse()
	text, err := notice(".")
	if err == nil {
		err = os.WriteFile(*out, text, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "notice:", err)
		os.Exit(1)
	}
}

// component is one thing of others that we ship.
type component struct {
	name    string // with its version
	source  string // where its source is
	licence []string
	texts   []string
}

// notice returns the whole text for the module in the folder root.
func notice(root string) ([]byte, error) {
	components, err := modules(root)
	if err != nil {
		return nil, err
	}
	served, err := libraries(filepath.Join(root, library))
	if err != nil {
		return nil, err
	}
	return render(append(components, served...)), nil
}

// modules returns the Go runtime and the modules that the program is linked of.
func modules(root string) ([]component, error) {
	dirs := make(map[string][]string) // of each module, the packages that are linked
	info := make(map[string]listed)
	for _, system := range systems {
		packages, err := list(root, system)
		if err != nil {
			return nil, err
		}
		for _, p := range packages {
			if p.Standard || p.Module == nil || p.Module.Main {
				continue
			}
			info[p.Module.Path] = p
			if !slices.Contains(dirs[p.Module.Path], p.Dir) {
				dirs[p.Module.Path] = append(dirs[p.Module.Path], p.Dir)
			}
		}
	}
	var all []component
	for path, p := range info {
		files, err := licenceFiles(p.Module.Dir, dirs[path])
		if err != nil {
			return nil, err
		}
		name := path + " " + p.Module.Version
		c, err := read(name, "https://pkg.go.dev/"+path+"@"+p.Module.Version, files)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
		if path == "golang.org/x/sys" {
			// The runtime has the same authors and the same text, and every installation of
			// Go keeps its own in another place.
			c.name, c.source = "Go runtime and standard library", "https://go.dev"
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b component) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

// listed is what we read of an entry of go list.
type listed struct {
	Dir      string
	Standard bool
	Module   *struct {
		Path, Version, Dir string
		Main               bool
	}
}

func list(root, system string) ([]listed, error) {
	cmd := exec.Command("go", "list", "-deps", "-json=Dir,Standard,Module", program)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS="+system, "GOARCH=amd64", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the packages for %s: %w: %s", system, err, stderr.Bytes())
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the packages: %w", err)
		}
		all = append(all, p)
	}
}

var licenceName = regexp.MustCompile(`(?i)^(licen[cs]e|copying|copyright|notice|patents)(\.(md|txt))?$`)

// mustBeKnown are the files that grant rights; the others of licenceName add notices.
var mustBeKnown = regexp.MustCompile(`(?i)^(licen[cs]e|copying)`)

// licenceFiles returns the licences in the packages and in the folders above them, up to the
// module's.
func licenceFiles(module string, packages []string) ([]string, error) {
	seen := make(map[string]bool)
	var files []string
	for _, dir := range packages {
		for ; strings.HasPrefix(dir, module) && !seen[dir]; dir = filepath.Dir(dir) {
			seen[dir] = true
			entries, err := os.ReadDir(dir)
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				if !e.IsDir() && licenceName.MatchString(e.Name()) {
					files = append(files, filepath.Join(dir, e.Name()))
				}
			}
		}
	}
	slices.Sort(files)
	return files, nil
}

var version = regexp.MustCompile(`https?://\S+ \(v[0-9.]+\)`)

// libraries returns the scripts of others that the console serves. NAME.js stands beside
// NAME.LICENSE and says in its head where it is from.
func libraries(dir string) ([]component, error) {
	scripts, err := filepath.Glob(filepath.Join(dir, "*.js"))
	if err != nil {
		return nil, err
	}
	var all []component
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err != nil {
			return nil, err
		}
		origin, number, ok := strings.Cut(version.FindString(string(text[:min(len(text), 500)])), " (")
		if !ok {
			return nil, fmt.Errorf("%s does not say its address and version in its head", script)
		}
		base := strings.TrimSuffix(script, ".js")
		c, err := read(filepath.Base(origin)+" "+strings.TrimSuffix(number, ")"), origin, []string{base + ".LICENSE"})
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// read makes a component of its files.
func read(name, source string, files []string) (component, error) {
	c := component{name: name, source: source}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return c, fmt.Errorf("read the licence of %s: %w", name, err)
		}
		text := tidy(string(raw))
		if !slices.Contains(c.texts, text) {
			c.texts = append(c.texts, text)
		}
		ids := identify(text)
		if len(ids) == 0 && mustBeKnown.MatchString(filepath.Base(file)) {
			return c, fmt.Errorf("%s of %s is no licence that we know", file, name)
		}
		for _, id := range ids {
			if !slices.Contains(c.licence, id) {
				c.licence = append(c.licence, id)
			}
		}
	}
	if len(c.licence) == 0 {
		return c, fmt.Errorf("%s has no licence", name)
	}
	slices.Sort(c.licence)
	return c, nil
}

// known has a sentence of each licence that we may ship, by its SPDX identifier. Add one only
// after reading what it asks of us.
var known = []struct{ id, sentence string }{
	{"Apache-2.0", "apache license version 2.0"},
	{"Apache-2.0", "licensed under the apache license, version 2.0"},
	{"MPL-2.0", "mozilla public license, version 2.0"},
	{"MPL-2.0", "mozilla public license version 2.0"},
	{"MIT", "permission is hereby granted, free of charge, to any person obtaining a copy"},
	{"ISC", "permission to use, copy, modify, and/or distribute this software for any purpose"},
	{"BSD-3-Clause", "may be used to endorse or promote products derived from this software"},
}

// identify returns the licences that a text has.
func identify(text string) []string {
	flat := strings.ToLower(strings.Join(strings.Fields(text), " "))
	var ids []string
	for _, k := range known {
		if strings.Contains(flat, k.sentence) && !slices.Contains(ids, k.id) {
			ids = append(ids, k.id)
		}
	}
	if strings.Contains(flat, "redistribution and use in source and binary forms") &&
		!slices.Contains(ids, "BSD-3-Clause") {
		ids = append(ids, "BSD-2-Clause")
	}
	return ids
}

// tidy takes out what differs without a meaning, so that equal texts are printed once.
func tidy(text string) string {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \t\f")
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n")
}

// render writes a table of the components, and each text once under the names it belongs to.
func render(all []component) []byte {
	var out bytes.Buffer
	out.WriteString("aptlyd\n\n")
	out.WriteString("This program holds the following works of others. Their licences are below.\n")
	out.WriteString("Written by hack/notice (go generate); do not edit.\n\n")
	var texts []string
	owners := make(map[string][]string)
	for _, c := range all {
		fmt.Fprintf(&out, "%s\n    %s\n    %s\n", c.name, strings.Join(c.licence, " AND "), c.source)
		for _, text := range c.texts {
			if owners[text] == nil {
				texts = append(texts, text)
			}
			owners[text] = append(owners[text], c.name)
		}
	}
	for _, text := range texts {
		fmt.Fprintf(&out, "\n%s\n%s\n%s\n\n%s\n", rule, strings.Join(owners[text], "\n"), rule, text)
	}
	return out.Bytes()
}
