package test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"

	"github.com/aptlyd/aptlyd/test/lab"
)

// image is this machine's image of a release, out of the archive that is published.
var image = sync.OnceValues(func() (v1.Image, error) {
	dir := filepath.Dir(program)
	archives := []string{filepath.Join(dir, "image.tar"), filepath.Join(dir, "again.tar")}
	var texts [][]byte
	for _, archive := range archives {
		if out, err := exec.Command("go", "run", "../image", "-o", archive, "-version", version, "-commit", "abc",
			"-created", "1764000000", goarch+"="+program).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("write image: %w\n%s", err, out)
		}
		text, err := os.ReadFile(archive)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	if !bytes.Equal(texts[0], texts[1]) {
		return nil, errors.New("the same program gives another image")
	}
	path := filepath.Join(dir, "layout")
	if err := os.Mkdir(path, 0o755); err != nil {
		return nil, err
	}
	if out, err := exec.Command("tar", "-xf", archives[0], "-C", path).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("unpack archive: %w\n%s", err, out)
	}
	top, err := layout.ImageIndexFromPath(path)
	if err != nil {
		return nil, err
	}
	manifest, err := top.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(manifest.Manifests) != 1 ||
		manifest.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != version {
		return nil, fmt.Errorf("the archive has %+v", manifest.Manifests)
	}
	index, err := top.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		return nil, err
	}
	images, err := partial.FindImages(index, match.Platforms(v1.Platform{OS: "linux", Architecture: goarch}))
	if err != nil || len(images) != 1 {
		return nil, fmt.Errorf("the index has %d images of this machine's architecture (%w)", len(images), err)
	}
	return images[0], nil
})

// needImage is image, with the right to start it on hosts.
func needImage(t *testing.T) (v1.Image, v1.Config) {
	t.Helper()
	lab.NeedNetworks(t)
	img, err := image()
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return img, file.Config
}

// containerOf returns the image as a container engine starts it, on a root of its own.
func containerOf(t *testing.T, hostname string, host *lab.Host, env ...string) command {
	t.Helper()
	img, c := needImage(t)
	root := unpack(t, img)
	var id syscall.Credential
	if _, err := fmt.Sscanf(c.User, "%d:%d", &id.Uid, &id.Gid); err != nil {
		t.Fatalf("the image runs as %q: %v", c.User, err)
	}
	return command{
		host: host, hostname: hostname, root: root, user: &id,
		args: append(append([]string{}, c.Entrypoint...), c.Cmd...), env: append(append([]string{}, c.Env...), env...),
	}
}

// unpack writes the files of an image into a folder.
func unpack(t *testing.T, img v1.Image) string {
	t.Helper()
	root := t.TempDir()
	files := mutate.Extract(img)
	defer files.Close()
	cmd := exec.Command("tar", "--numeric-owner", "-xpC", root)
	cmd.Stdin = files
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("unpack: %v\n%s", err, out)
	}
	// The root of an image is open to its user, whoever made the folder.
	for dir := root; dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// The files of the image, started as its config says and as nobody special, are three nodes
// of a cluster.
func TestImage(t *testing.T) {
	t.Parallel()
	_, config := needImage(t)
	if got := config.Labels["org.opencontainers.image.version"]; got != version {
		t.Errorf("the label says version %s, the tree is %s", got, version)
	}
	hosts := lab.NewNetwork(t, 3).Hosts
	var join []string
	for _, h := range hosts {
		join = append(join, net.JoinHostPort(h.IP, "7401"))
	}
	var nodes []*process
	for i, h := range hosts {
		nodes = append(nodes, containerOf(t, fmt.Sprint("node", i+1), h, "APTLYD_JOIN="+strings.Join(join, ","),
			"APTLYD_BOOTSTRAP_EXPECT=0", "APTLYD_CLUSTER_SECRET="+clusterSecret, "APTLYD_ADMIN_TOKEN="+adminToken).run(t))
	}
	key := awaitCluster(t, nodes)
	if out, err := nodes[0].with(config.Healthcheck.Test[1:]...).output(t); err != nil {
		t.Errorf("the health check of the image: %v: %s", err, out)
	}
	useCluster(t, nodes, key)
}

// The image is one node that is complete by itself, without any setting.
func TestImageAlone(t *testing.T) {
	t.Parallel()
	needImage(t)
	hosts := lab.NewNetwork(t, 1).Hosts
	node := containerOf(t, "alone", hosts[0], "APTLYD_ADMIN_TOKEN="+adminToken).run(t)
	awaitCluster(t, []*process{node})
	if err := node.terminate(); err != nil {
		t.Error(err)
	}
}
