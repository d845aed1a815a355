package test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"

	"github.com/aptlyd/aptlyd/test/lab"
)

// pods are those of the chart, on hosts as a kubelet would start them.
type pods struct {
	t         *testing.T
	manifests manifests
	set       *apps.StatefulSet
	dns       *lab.DNS
	volumes   []string // of each pod, what /data is
}

func newPods(t *testing.T, hosts []*lab.Host) *pods {
	t.Helper()
	m := mustRender(t, values())
	set := get[*apps.StatefulSet](t, m, "StatefulSet rt-aptlyd")
	p := &pods{t: t, manifests: m, set: set, dns: lab.NewDNS(t, hosts...)}
	for range *p.set.Spec.Replicas {
		p.volumes = append(p.volumes, t.TempDir())
	}
	return p
}

func (p *pods) name(number int) string { return fmt.Sprintf("%s-%d", p.set.Name, number) }

// domain is the name of a pod that its headless service gives it.
func (p *pods) domain(number int) string {
	return fmt.Sprintf("%s.%s.live.svc.cluster.local", p.name(number), p.set.Spec.ServiceName)
}

// start starts a pod on a host.
func (p *pods) start(number int, host *lab.Host) *process {
	p.t.Helper()
	spec := p.set.Spec.Template.Spec
	if len(spec.Containers) != 1 {
		p.t.Fatalf("a pod has %d containers", len(spec.Containers))
	}
	container := spec.Containers[0]
	c := containerOf(p.t, p.name(number), host)
	c.args = append(c.args[:1], container.Args...)
	c.env = append(c.env, p.environment(number, container)...)
	c.user.Uid, c.user.Gid = uint32(*spec.SecurityContext.RunAsUser), uint32(*spec.SecurityContext.RunAsGroup)
	for _, m := range container.VolumeMounts {
		p.mount(number, m, c.root)
	}
	writeResolver(p.t, c.root)
	return c.run(p.t)
}

// environment returns the variables of a pod, each of which may hold those before it.
func (p *pods) environment(number int, container core.Container) (env []string) {
	p.t.Helper()
	known := make(map[string]string)
	for _, e := range container.Env {
		value := e.Value
		switch from := e.ValueFrom; {
		case from == nil:
		case from.FieldRef != nil && from.FieldRef.FieldPath == "metadata.name":
			value = p.name(number)
		case from.SecretKeyRef != nil:
			secret := get[*core.Secret](p.t, p.manifests, "Secret "+from.SecretKeyRef.Name)
			var ok bool
			if value, ok = secret.StringData[from.SecretKeyRef.Key]; !ok {
				p.t.Fatalf("the secret has no %s", from.SecretKeyRef.Key)
			}
		default:
			p.t.Fatalf("%s comes from %+v", e.Name, from)
		}
		value = regexp.MustCompile(`\$\((\w+)\)`).ReplaceAllStringFunc(value, func(reference string) string {
			return known[reference[2:len(reference)-1]]
		})
		known[e.Name] = value
		env = append(env, e.Name+"="+value)
	}
	return env
}

// mount puts a volume into the root of a pod.
func (p *pods) mount(number int, m core.VolumeMount, root string) {
	p.t.Helper()
	at := filepath.Join(root, m.MountPath)
	for _, v := range p.set.Spec.Template.Spec.Volumes {
		if v.Name == m.Name {
			for name, text := range get[*core.ConfigMap](p.t, p.manifests, "ConfigMap "+v.ConfigMap.Name).Data {
				writeFile(p.t, filepath.Join(at, name), text)
			}
			return
		}
	}
	if m.Name != p.set.Spec.VolumeClaimTemplates[0].Name {
		p.t.Fatalf("there is no volume %s", m.Name)
	}
	group := int(*p.set.Spec.Template.Spec.SecurityContext.FSGroup)
	widen(p.t, p.volumes[number], group)
	if err := os.MkdirAll(at, 0o755); err != nil {
		p.t.Fatal(err)
	}
	lab.Guard(p.t, `umount "$1"`, at)
	lab.Run(p.t, "mount", "--bind", p.volumes[number], at)
}

// widen gives a volume to a group, as the kubelet does for an fsGroup: all may be read and
// written by it, and what is made in a folder is the group's.
func widen(t *testing.T, volume string, group int) {
	t.Helper()
	if err := filepath.WalkDir(volume, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := info.Mode() | 0o660
		if d.IsDir() {
			mode |= 0o110 | fs.ModeSetgid
		}
		if err := os.Lchown(path, -1, group); err != nil {
			return err
		}
		return os.Chmod(path, mode)
	}); err != nil {
		t.Fatal(err)
	}
}

// awaitWords waits until a node has said something.
func awaitWords(t *testing.T, n *process, words string) {
	t.Helper()
	eventually(t, func() error {
		if !strings.Contains(n.said(), words) {
			return fmt.Errorf("%s does not say %q:\n%s", n.hostname, words, n.said())
		}
		return nil
	})
}

// The chart's pods know each other by names. Those come into DNS late, and go on leading to
// old addresses for a while; addresses go from one pod to another; and the kubelet widens the
// modes of their folders.
func TestPods(t *testing.T) {
	t.Parallel()
	needImage(t)
	hosts := lab.NewNetwork(t, 4).Hosts
	p := newPods(t, hosts)
	nodes := make([]*process, 3)
	for i := range nodes {
		nodes[i] = p.start(i, hosts[i])
	}
	for _, n := range nodes {
		awaitWords(t, n, "in DNS yet")
	}
	for i, h := range hosts[:3] {
		p.dns.Set(p.domain(i), h.IP)
	}
	key := awaitCluster(t, nodes)
	p.checkProbes(nodes[0])

	// One comes back with another address, and DNS says the old one at first.
	nodes[2].kill()
	nodes[2] = p.start(2, hosts[3])
	awaitWords(t, nodes[2], "the data folder was open to other users and is closed again")
	awaitWords(t, nodes[2], "is in DNS with an address that this host does not have")
	p.dns.Set(p.domain(2), hosts[3].IP)
	awaitCluster(t, nodes)

	// All come back at once, each with an address that was another's.
	for _, n := range nodes {
		n.kill()
	}
	for i, h := range []*lab.Host{hosts[1], hosts[3], hosts[0]} {
		nodes[i] = p.start(i, h)
		p.dns.Set(p.domain(i), h.IP)
	}
	awaitCluster(t, nodes)
	status, err := nodes[0].admin().Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range status.Members {
		if !strings.Contains(m.PeerAddr, ".svc.cluster.local:7400") {
			t.Errorf("member %d is known at %s", i, m.PeerAddr)
		}
	}
	useCluster(t, nodes, key)
}

// checkProbes asks what the kubelet asks.
func (p *pods) checkProbes(n *process) {
	p.t.Helper()
	c := p.set.Spec.Template.Spec.Containers[0]
	for _, probe := range []*core.Probe{c.ReadinessProbe, c.LivenessProbe} {
		if code, err := n.status(probe.HTTPGet.Path); err != nil || code != 200 {
			p.t.Errorf("the probe of %s: %d %v", probe.HTTPGet.Path, code, err)
		}
	}
}
