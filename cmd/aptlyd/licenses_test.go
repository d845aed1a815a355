package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestLicensesArePrinted(t *testing.T) {
	var out bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetArgs([]string{"licenses"})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Apache License", "hashicorp/raft v", "uPlot v", "Copyright 2009 The Go Authors"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in what licenses prints", want)
		}
	}
}
