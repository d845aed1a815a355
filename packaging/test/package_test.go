package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goreleaser/goreleaser/v2/pkg/config"
	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

// buildPackage makes the package that .goreleaser.yaml describes, of this machine's program.
// To build goreleaser itself takes minutes, which a release can afford and CI cannot.
func buildPackage(t *testing.T, format, version string) string {
	t.Helper()
	project, err := config.Load(filepath.Join(repository, ".goreleaser.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(project.NFPMs) != 1 {
		t.Fatalf(".goreleaser.yaml describes %d packages", len(project.NFPMs))
	}
	described := project.NFPMs[0]
	info := &nfpm.Info{
		Name: described.PackageName, Arch: goarch, Platform: "linux", Version: version,
		Section: described.Section, Maintainer: described.Maintainer, Description: described.Description,
		Vendor: described.Vendor, Homepage: described.Homepage, License: described.License, MTime: time.Unix(0, 0),
		Overridables: nfpm.Overridables{
			Depends: described.Overrides[format].Dependencies,
			Scripts: nfpm.Scripts{
				PreInstall:  inRepository(described.Scripts.PreInstall),
				PostInstall: inRepository(described.Scripts.PostInstall),
				PreRemove:   inRepository(described.Scripts.PreRemove),
				PostRemove:  inRepository(described.Scripts.PostRemove),
			},
			Deb: nfpm.Deb{Predepends: described.Deb.Predepends},
			Contents: files.Contents{{
				Source: program, Destination: filepath.Join(described.Bindir, "aptlyd"),
				FileInfo: &files.ContentFileInfo{Mode: 0o755},
			}},
		},
	}
	written, err := manual()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range described.Contents {
		source := inRepository(c.Source)
		if rest, ok := strings.CutPrefix(c.Source, "bin/share/"); ok {
			source = filepath.Join(written, rest)
		}
		info.Contents = append(info.Contents, &files.Content{
			Source: source, Destination: c.Destination, Type: c.Type, Packager: c.Packager,
			FileInfo: &files.ContentFileInfo{Mode: c.FileInfo.Mode, Owner: c.FileInfo.Owner, Group: c.FileInfo.Group},
		})
	}
	info = nfpm.WithDefaults(info) // reads the version, as goreleaser does
	packager, err := nfpm.Get(format)
	if err != nil {
		t.Fatal(err)
	}
	if err := nfpm.PrepareForPackager(info, format); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "aptlyd."+format)
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := packager.Package(info, file); err != nil {
		t.Fatal(err)
	}
	return path
}

func inRepository(path string) string { return filepath.Join(repository, path) }
