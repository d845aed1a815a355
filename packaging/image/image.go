package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// user is whom the node runs as: an id that no distribution gives to anybody.
const user = 65532

// build is what an image is made of.
type build struct {
	program string // path of the static program
	arch    string // as Go calls it
	version string
	commit  string
	created time.Time
}

// image returns the image of one architecture: the program, and a folder for its data.
func (b build) image() (v1.Image, error) {
	layer, err := b.layer()
	if err != nil {
		return nil, err
	}
	img, err := mutate.Append(mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON),
		types.OCIManifestSchema1), mutate.Addendum{Layer: layer, MediaType: types.OCILayer, History: v1.History{
		Created: v1.Time{Time: b.created}, CreatedBy: "aptlyd " + b.version,
	}})
	if err != nil {
		return nil, fmt.Errorf("append layer: %w", err)
	}
	config := b.config()
	previous, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	config.RootFS, config.History = previous.RootFS, previous.History
	return mutate.ConfigFile(img, config)
}

// config returns how the program is started. The Dockerfile says the same.
func (b build) config() *v1.ConfigFile {
	return &v1.ConfigFile{
		Architecture: b.arch,
		OS:           "linux",
		Created:      v1.Time{Time: b.created},
		Config: v1.Config{
			User:       fmt.Sprintf("%d:%d", user, user),
			Env:        []string{"APTLYD_DATA_DIR=/data/aptlyd"},
			Entrypoint: []string{"/aptlyd"},
			Cmd:        []string{"serve"},
			StopSignal: "SIGTERM",
			Volumes:    map[string]struct{}{"/data": {}},
			ExposedPorts: map[string]struct{}{
				"8080/tcp": {}, "7400/tcp": {}, "7401/tcp": {}, "7401/udp": {},
			},
			Healthcheck: &v1.HealthConfig{
				Test:     []string{"CMD", "/aptlyd", "healthcheck"},
				Interval: 5 * time.Second, Timeout: 3 * time.Second, StartPeriod: time.Minute,
			},
			Labels: map[string]string{
				"org.opencontainers.image.title":    "aptlyd",
				"org.opencontainers.image.version":  b.version,
				"org.opencontainers.image.revision": b.commit,
				"org.opencontainers.image.created":  b.created.UTC().Format(time.RFC3339),
				"org.opencontainers.image.source":   "https://github.com/aptlyd/aptlyd",
				"org.opencontainers.image.licenses": "Apache-2.0",
			},
		},
	}
}

// layer returns the files of the image. The same program gives the same bytes.
func (b build) layer() (v1.Layer, error) {
	program, err := os.ReadFile(b.program)
	if err != nil {
		return nil, err
	}
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	for _, h := range []*tar.Header{
		{Typeflag: tar.TypeReg, Name: "aptlyd", Mode: 0o755, Size: int64(len(program))},
		// A new volume takes its owner from /data. The node makes a folder of its own in it,
		// since a volume that is mounted may be open to others.
		{Typeflag: tar.TypeDir, Name: "data/", Mode: 0o700, Uid: user, Gid: user},
	} {
		h.ModTime = b.created
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("write layer: %w", err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(program); err != nil {
				return nil, fmt.Errorf("write layer: %w", err)
			}
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(files.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
}
