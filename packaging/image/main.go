// Command image writes the container image of a release: one static program for each
// architecture, from scratch and without a daemon. It knows nothing of registries; tools that
// speak to them take the archive.
package main

import (
	"archive/tar"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func main() {
	out := flag.String("o", "aptlyd.oci.tar", "archive to write, in the layout of OCI")
	version := flag.String("version", "", "version of the programs")
	commit := flag.String("commit", "", "commit that they are built of")
	created := flag.Int64("created", 0, "time of that commit, in seconds")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: image [flags] ARCH=PROGRAM...")
		flag.PrintDefaults()
	}
	flag.Parse()
	var builds []build
	for _, arg := range flag.Args() {
		arch, program, ok := strings.Cut(arg, "=")
		if !ok {
			flag.Usage()
			os.Exit(2)
		}
		builds = append(builds, build{program, arch, *version, *commit, time.Unix(*created, 0).UTC()})
	}
	if err := write(*out, builds); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// write makes an archive of the images of several architectures.
func write(path string, builds []build) (err error) {
	if len(builds) == 0 {
		return errors.New("no program is given")
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, b := range builds {
		img, err := b.image()
		if err != nil {
			return fmt.Errorf("image for %s: %w", b.arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: b.arch}},
		})
	}
	dir, err := os.MkdirTemp("", "aptlyd-image-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := writeLayout(dir, builds[0].version, index); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	return archive(path, dir, builds[0].created)
}

// writeLayout makes a layout in dir that has the index, as one image by the version's name.
func writeLayout(dir, version string, index v1.ImageIndex) error {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": version,
		"io.containerd.image.name":          "ghcr.io/aptlyd/aptlyd:" + version,
	}))
}

// archive puts the files of a folder into a tar file. The same files give the same bytes.
func archive(path, dir string, modified time.Time) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := tar.NewWriter(file)
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		inside, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		return addFile(w, name, filepath.ToSlash(inside), modified)
	})
	return errors.Join(err, w.Close())
}

func addFile(w *tar.Writer, name, inside string, modified time.Time) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: inside, Mode: 0o644, Size: info.Size(), ModTime: modified}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(w, file)
	return err
}
