package test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/aptlyd/aptlyd/test/lab"
)

// debian makes a fresh Debian, once, in a folder that nobody changes.
var debian = sync.OnceValues(func() (string, error) {
	root := filepath.Join(filepath.Dir(program), "debian")
	// What every Debian has, and passwd, which makes users.
	cmd := exec.Command("mmdebstrap", "--quiet", "--variant=essential", "--include=passwd", debianRelease(), root)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mmdebstrap: %w\n%s", err, out)
	}
	return root, nil
})

// debianRelease returns the release of this machine, whose mirror it knows.
func debianRelease() string {
	text, err := os.ReadFile("/etc/os-release")
	if err == nil {
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
				return name
			}
		}
	}
	return "stable"
}

// newDebian returns the root of a fresh Debian for one host, until the test ends.
func newDebian(t *testing.T) string {
	t.Helper()
	lab.NeedNetworks(t) // and the right to mount
	lab.NeedTool(t, "mmdebstrap")
	fresh, err := debian()
	if err != nil {
		t.Fatal(err)
	}
	root := overlay(t, fresh)
	// The installer of a machine writes it.
	if err := os.WriteFile(filepath.Join(root, "etc/hosts"), []byte("127.0.0.1 localhost\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

// overlay returns a root that begins as another one and changes alone, until the test ends.
func overlay(t *testing.T, lower string) string {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	for _, folder := range []string{"root", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lab.Guard(t, `umount "$1"`, root)
	lab.Run(t, "mount", "-t", "overlay", "overlay", "-o", fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s",
		lower, filepath.Join(dir, "upper"), filepath.Join(dir, "work")), root)
	return root
}

// inDebian runs a command of the root as root, with nobody to answer questions.
func inDebian(t *testing.T, root string, args ...string) string {
	t.Helper()
	cmd := exec.Command("chroot", append([]string{root}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// install installs a package.
func install(t *testing.T, root, deb string) string {
	t.Helper()
	copyTo(t, deb, filepath.Join(root, "aptlyd.deb"))
	return inDebian(t, root, "dpkg", "-i", "/aptlyd.deb")
}

// edit replaces one line of a file, which must be there.
func edit(t *testing.T, path, line, by string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(text), "\n"+line+"\n") != 1 {
		t.Fatalf("%s has no line %q, or several:\n%s", path, line, text)
	}
	text = []byte(strings.Replace(string(text), "\n"+line+"\n", "\n"+by+"\n", 1))
	if err := os.WriteFile(path, text, 0o600); err != nil { // keeps its mode
		t.Fatal(err)
	}
}

// unit is what systemd would start.
type unit map[string][]string

// readUnit reads the unit that is installed in a root.
func readUnit(t *testing.T, root string) unit {
	t.Helper()
	file, err := os.Open(filepath.Join(root, "usr/lib/systemd/system/aptlyd.service"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	u := make(unit)
	for s := bufio.NewScanner(file); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), "="); ok && !strings.HasPrefix(key, "#") {
			u[key] = append(u[key], value)
		}
	}
	return u
}

// one returns the value of a key that the unit has once.
func (u unit) one(t *testing.T, key string) string {
	t.Helper()
	if len(u[key]) != 1 {
		t.Fatalf("the unit has %s=%q", key, u[key])
	}
	return u[key][0]
}

// command returns what systemd starts on a host: the line, the user, the environment and the
// folder of the state.
func (u unit) command(t *testing.T, root, hostname string, host *lab.Host) command {
	t.Helper()
	id := userOf(t, root, u.one(t, "User"))
	state := filepath.Join(root, "var/lib", u.one(t, "StateDirectory"))
	mode, err := strconv.ParseUint(u.one(t, "StateDirectoryMode"), 8, 32)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(state, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(state, int(id.Uid), int(id.Gid)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(state, os.FileMode(mode)); err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, name := range u["EnvironmentFile"] {
		text, err := os.ReadFile(filepath.Join(root, strings.TrimPrefix(name, "-")))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines(string(text)) {
			if !strings.HasPrefix(line, "#") {
				env = append(env, line)
			}
		}
	}
	return command{
		host: host, hostname: hostname, root: root, user: id, args: strings.Fields(u.one(t, "ExecStart")), env: env,
	}
}

func userOf(t *testing.T, root, name string) *syscall.Credential {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "etc/passwd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines(string(text)) {
		if fields := strings.Split(line, ":"); fields[0] == name {
			uid, err := strconv.ParseUint(fields[2], 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			gid, err := strconv.ParseUint(fields[3], 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	t.Fatalf("there is no user %s:\n%s", name, text)
	return nil
}

func copyTo(t *testing.T, from, to string) {
	t.Helper()
	lab.Run(t, "cp", from, to)
}

// A package in a fresh Debian runs as its unit says, and one line makes a cluster of three.
func TestDebianPackage(t *testing.T) {
	t.Parallel()
	deb := buildPackage(t, "deb", version)
	hosts := lab.NewNetwork(t, 3).Hosts
	var join []string
	for _, h := range hosts {
		join = append(join, net.JoinHostPort(h.IP, "7401"))
	}
	var nodes []*process
	for i, h := range hosts {
		root := newDebian(t)
		said := install(t, root, deb)
		if i == 0 {
			t.Logf("dpkg -i says:\n%s", said)
			if !strings.Contains(said, "systemctl enable --now --no-block aptlyd") {
				t.Error("it does not say how to go on")
			}
			checkVersions(t, root)
		}
		edit(t, filepath.Join(root, "etc/aptlyd/aptlyd.yaml"), "join: []", "join: ["+strings.Join(join, ", ")+"]")
		edit(t, filepath.Join(root, "etc/aptlyd/secrets"), "#APTLYD_CLUSTER_SECRET=", "APTLYD_CLUSTER_SECRET="+clusterSecret)
		edit(t, filepath.Join(root, "etc/aptlyd/secrets"), "#APTLYD_ADMIN_TOKEN=", "APTLYD_ADMIN_TOKEN="+adminToken)
		nodes = append(nodes, readUnit(t, root).command(t, root, fmt.Sprint("node", i+1), h).run(t))
	}
	useCluster(t, nodes, awaitCluster(t, nodes))
	// The offline commands run as the node's user.
	reset := nodes[0].with("/usr/bin/aptlyd", "admin", "reset", "--data-dir", "/var/lib/aptlyd")
	if out, err := reset.output(t); err != nil || !strings.Contains(out, "admin token") {
		t.Errorf("aptlyd admin reset: %v: %s", err, out)
	}
}

// useCluster publishes on one node with the installed command and reads on another.
func useCluster(t *testing.T, nodes []*process, key string) {
	t.Helper()
	program := nodes[0].args[0]
	const server = "http://127.0.0.1:8080"
	out, err := nodes[0].with(program, "publish", "news", `"hello"`, "--server", server, "--key", key).output(t)
	if err != nil || !strings.Contains(out, "offset 1") {
		t.Fatalf("publish: %v: %s", err, out)
	}
	out, err = nodes[1].with(program, "healthcheck", "--server", server).output(t)
	if err != nil || !strings.Contains(out, "is ready") {
		t.Errorf("healthcheck: %v: %s", err, out)
	}
	last := nodes[len(nodes)-1]
	projects := 0
	for project, err := range last.admin().Projects(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		projects++
		history, err := last.admin().Messages(t.Context(), project.ID, "news", 0, 10)
		if err != nil || len(history.Messages) != 1 || string(history.Messages[0].Data) != `"hello"` {
			t.Errorf("the last node has %+v (%v)", history, err)
		}
	}
	if projects != 1 {
		t.Errorf("the last node has %d projects", projects)
	}
	for _, n := range nodes {
		if err := n.terminate(); err != nil {
			t.Errorf("%s ends with %v\n%s", n.hostname, err, n.said())
		}
	}
}

// with returns another command of the same host, root, user and environment.
func (p *process) with(args ...string) command {
	c := p.command
	c.args = args
	return c
}

// checkVersions checks that dpkg, the program and the tree have one version.
func checkVersions(t *testing.T, root string) {
	t.Helper()
	installed := inDebian(t, root, "dpkg-query", "-W", "-f", "${Version}", "aptlyd")
	// Debian sorts what follows a tilde before what does not.
	if strings.Replace(installed, "~", "-", 1) != version {
		t.Errorf("dpkg has version %s, the tree is %s", installed, version)
	}
	if said := inDebian(t, root, "aptlyd", "version"); !strings.HasPrefix(said, "aptlyd "+version+" ") {
		t.Errorf("the program says %s, the tree is %s", said, version)
	}
}
