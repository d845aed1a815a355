package test

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

// manifests are what the chart makes, by kind and name.
type manifests map[string]any

// values are those that an operator has to give.
func values(more ...map[string]any) map[string]any {
	given := map[string]any{"secret": map[string]any{"clusterSecret": clusterSecret, "adminToken": adminToken}}
	for _, m := range more {
		maps.Copy(given, m)
	}
	return given
}

// render renders the chart as "helm install rt" does in the namespace live, and reads what it
// made as the API server would: a field that does not exist is an error.
func render(given map[string]any) (manifests, error) {
	chart, err := loader.LoadDir(filepath.Join("..", "helm", "aptlyd"))
	if err != nil {
		return nil, err
	}
	if err := chart.Validate(); err != nil {
		return nil, err
	}
	top, err := util.ToRenderValues(chart, given, common.ReleaseOptions{
		Name: "rt", Namespace: "live", IsInstall: true, Revision: 1,
	}, nil)
	if err != nil {
		return nil, err
	}
	files, err := engine.Engine{Strict: true}.RenderWithContext(context.Background(), chart, top)
	if err != nil {
		return nil, err
	}
	all := make(manifests)
	for name, text := range files {
		if strings.HasSuffix(name, "NOTES.txt") {
			all["NOTES"] = text
			continue
		}
		for _, document := range regexp.MustCompile(`(?m)^---$`).Split(text, -1) {
			if strings.TrimSpace(document) == "" {
				continue
			}
			if err := all.add(document); err != nil {
				return nil, fmt.Errorf("%s: %w\n%s", name, err, document)
			}
		}
	}
	return all, nil
}

func (m manifests) add(document string) error {
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	if err := yaml.Unmarshal([]byte(document), &head); err != nil {
		return err
	}
	kinds := map[string]any{
		"v1/ConfigMap":                  &core.ConfigMap{},
		"v1/Secret":                     &core.Secret{},
		"v1/Service":                    &core.Service{},
		"apps/v1/StatefulSet":           &apps.StatefulSet{},
		"policy/v1/PodDisruptionBudget": &policy.PodDisruptionBudget{},

		"monitoring.coreos.com/v1/ServiceMonitor": &monitoring.ServiceMonitor{},
	}
	object, ok := kinds[head.APIVersion+"/"+head.Kind]
	if !ok {
		return fmt.Errorf("nobody expects %s/%s", head.APIVersion, head.Kind)
	}
	if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
		return err
	}
	m[head.Kind+" "+head.Metadata.Name] = object
	return nil
}

// get returns one manifest.
func get[T any](t *testing.T, m manifests, name string) T {
	t.Helper()
	object, ok := m[name].(T)
	if !ok {
		t.Fatalf("there is no %s among %v", name, slices.Collect(maps.Keys(m)))
	}
	return object
}

func mustRender(t *testing.T, given map[string]any) manifests {
	t.Helper()
	m, err := render(given)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// selects reports whether a selector is for what has these labels, and not for everything.
func selects(selector, labels map[string]string) bool {
	for key, value := range selector {
		if labels[key] != value {
			return false
		}
	}
	return len(selector) > 0
}

// What the chart makes by default has the properties that the nodes need.
func TestChart(t *testing.T) {
	t.Parallel()
	m := mustRender(t, values())
	set := get[*apps.StatefulSet](t, m, "StatefulSet rt-aptlyd")
	pod := set.Spec.Template
	if *set.Spec.Replicas != 3 || set.Spec.PodManagementPolicy != apps.ParallelPodManagement {
		t.Errorf("%d replicas, %s", *set.Spec.Replicas, set.Spec.PodManagementPolicy)
	}
	nodes := get[*core.Service](t, m, "Service "+set.Spec.ServiceName)
	if nodes.Spec.ClusterIP != core.ClusterIPNone || !nodes.Spec.PublishNotReadyAddresses {
		t.Errorf("the nodes' service is %+v", nodes.Spec)
	}
	clients := get[*core.Service](t, m, "Service rt-aptlyd")
	if clients.Spec.PublishNotReadyAddresses {
		t.Error("clients would come to nodes that are not ready")
	}
	budget := get[*policy.PodDisruptionBudget](t, m, "PodDisruptionBudget rt-aptlyd")
	if budget.Spec.MaxUnavailable.IntValue() != 1 {
		t.Errorf("the budget is %+v", budget.Spec)
	}
	apart := pod.Spec.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution
	for name, selector := range map[string]map[string]string{
		"statefulset": set.Spec.Selector.MatchLabels, "nodes": nodes.Spec.Selector, "clients": clients.Spec.Selector,
		"budget": budget.Spec.Selector.MatchLabels, "anti-affinity": apart[0].PodAffinityTerm.LabelSelector.MatchLabels,
	} {
		if !selects(selector, pod.Labels) {
			t.Errorf("the selector of %s, %v, does not match the pods' %v", name, selector, pod.Labels)
		}
	}
	container := pod.Spec.Containers[0]
	if container.Image != "ghcr.io/aptlyd/aptlyd:0.0.0" {
		t.Errorf("the image is %s", container.Image)
	}
	pause := container.Lifecycle.PreStop.Sleep.Seconds
	if drain := int64(15); *pod.Spec.TerminationGracePeriodSeconds < pause+drain {
		t.Errorf("a pod is killed %d s after it was told to stop, and needs %d+%d",
			*pod.Spec.TerminationGracePeriodSeconds, pause, drain)
	}
	if s := pod.Spec.SecurityContext; !*s.RunAsNonRoot || *s.RunAsUser != 65532 || *s.FSGroup != 65532 {
		t.Errorf("the pod runs as %+v", s)
	}
	if s := container.SecurityContext; !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation ||
		!slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) {
		t.Errorf("the container runs as %+v", s)
	}
	if !strings.Contains(get[string](t, m, "NOTES"), "kubectl -n live rollout status statefulset/rt-aptlyd") {
		t.Error("the notes do not say how to look")
	}
}

// Each value has its effect, and only what exists is made of it.
func TestChartValues(t *testing.T) {
	t.Parallel()
	m := mustRender(t, map[string]any{
		"secret": map[string]any{"existing": "mine"}, "replicas": 5, "antiAffinity": "required",
		"tls": map[string]any{"secretName": "site"}, "imagePullSecrets": []any{map[string]any{"name": "pull"}},
		"image":          map[string]any{"digest": "sha256:" + strings.Repeat("0", 64)},
		"settings":       map[string]any{"log-level": "debug", "trusted-proxies": []any{"10.0.0.0/8"}, "max-channels": 10},
		"serviceMonitor": map[string]any{"enabled": true}, "priorityClassName": "high",
		"nodeSelector": map[string]any{"a": "b"}, "tolerations": []any{map[string]any{"key": "c", "operator": "Exists"}},
		"podAnnotations": map[string]any{"d": "e"}, "podLabels": map[string]any{"f": "g"},
		"service": map[string]any{
			"type": "LoadBalancer", "externalTrafficPolicy": "Local", "annotations": map[string]any{"h": "i"},
			"labels": map[string]any{"j": "k"}, "loadBalancerClass": "l",
		},
		"storage": map[string]any{"className": "fast"},
	})
	if _, ok := m["Secret rt-aptlyd"]; ok {
		t.Error("there is a secret beside the operator's")
	}
	monitor := get[*monitoring.ServiceMonitor](t, m, "ServiceMonitor rt-aptlyd")
	service := get[*core.Service](t, m, "Service rt-aptlyd-nodes")
	if !selects(monitor.Spec.Selector.MatchLabels, service.Labels) {
		t.Errorf("the monitor looks for %v, the service has %v", monitor.Spec.Selector.MatchLabels, service.Labels)
	}
	set := get[*apps.StatefulSet](t, m, "StatefulSet rt-aptlyd")
	container := set.Spec.Template.Spec.Containers[0]
	if container.ReadinessProbe.HTTPGet.Scheme != core.URISchemeHTTPS {
		t.Error("the probe speaks no TLS")
	}
	clients := get[*core.Service](t, m, "Service rt-aptlyd")
	if spoken := clients.Spec.Ports[0].AppProtocol; spoken == nil || *spoken != "kubernetes.io/wss" {
		t.Errorf("an ingress is told to speak %v to the nodes", spoken)
	}
	if !strings.HasSuffix(container.Image, "@sha256:"+strings.Repeat("0", 64)) {
		t.Errorf("the image is %s", container.Image)
	}
	join := slices.IndexFunc(container.Env, func(e core.EnvVar) bool { return e.Name == "APTLYD_JOIN" })
	if join < 0 || strings.Count(container.Env[join].Value, ",") != 2 {
		t.Errorf("another number of replicas restarts all nodes, or they join nobody: %v", container.Env)
	}
	settings := get[*core.ConfigMap](t, m, "ConfigMap rt-aptlyd").Data["aptlyd.yaml"]
	for _, line := range []string{
		"log-level: debug", "max-channels: 10", "- 10.0.0.0/8", "tls-key: /etc/aptlyd-tls/tls.key",
	} {
		if !strings.Contains(settings, line+"\n") {
			t.Errorf("the settings lack %q:\n%s", line, settings)
		}
	}
	other := mustRender(t, values())
	if before, after := get[*apps.StatefulSet](t, other, "StatefulSet rt-aptlyd").Spec.Template.Annotations,
		set.Spec.Template.Annotations; before["checksum/settings"] == after["checksum/settings"] {
		t.Error("other settings do not restart the nodes")
	}
}

// Values that cannot work are refused, and named.
func TestChartRefusesValues(t *testing.T) {
	t.Parallel()
	weak := map[string]any{"clusterSecret": "short", "adminToken": adminToken}
	shared := map[string]any{"accessModes": []any{"ReadWriteMany"}}
	for name, c := range map[string]struct {
		given map[string]any
		want  string
	}{
		"no secret":         {map[string]any{}, "secret.existing"},
		"a weak secret":     {map[string]any{"secret": weak}, "clusterSecret"},
		"unknown":           {values(map[string]any{"replica": 3}), "replica"},
		"too few":           {values(map[string]any{"replicas": 2}), "bootstrapExpect is 3"},
		"its own setting":   {values(map[string]any{"settings": map[string]any{"advertise": "a"}}), "advertise"},
		"no anti-affinity":  {values(map[string]any{"antiAffinity": "maybe"}), "antiAffinity"},
		"shared storage":    {values(map[string]any{"storage": shared}), "accessModes"},
		"a digest, no hash": {values(map[string]any{"image": map[string]any{"digest": "latest"}}), "digest"},
	} {
		if _, err := render(c.given); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v does not name %s", name, err, c.want)
		}
	}
}
