package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/bench"
)

// told lists events for comparison.
func told(p bench.Protocol, text string) (events []string, used int, err error) {
	used, err = p.Parse([]byte(text), func(e bench.Event) {
		kind := map[bench.EventKind]string{
			bench.Ready: "ready", bench.Delivered: "delivered", bench.Acknowledged: "acknowledged", bench.Ping: "ping",
			bench.Refused: "refused",
		}[e.Kind]
		events = append(events, strings.TrimSpace(fmt.Sprintf("%s %d %d %s %s", kind, e.ID, e.Offset, e.Epoch, e.Data)))
	})
	return events, used, err
}

func TestNATSParse(t *testing.T) {
	p := &natsProtocol{}
	const stream = "INFO {}\r\nPONG\r\nPING\r\nMSG bench.c 2 3\r\n\"x\"\r\n" +
		"MSG bench.c 2 $JS.ACK.1 4\r\nx\r\ny\r\nMSG _I.1.7 1 8\r\n{\"seq\":1\r\nMSG _I.1.8 1 12\r\n{\"error\":{}}\r\n" +
		"MSG _I.1.0 1 2\r\n{}\r\n-ERR 'no'\r\n"
	want := []string{
		"ready 0 0", "ping 0 0  PONG", `delivered 0 0  "x"`, "delivered 0 0  x\r\ny", "acknowledged 7 0",
		`refused 0 0  {"error":{}}`, "ready 0 0", "refused 0 0  'no'",
	}
	// However the stream is cut, the same is told.
	for cut := range len(stream) + 1 {
		first, used, err := told(p, stream[:cut])
		if err != nil {
			t.Fatal(err)
		}
		second, rest, err := told(p, stream[used:])
		if err != nil || used+rest != len(stream) || !reflect.DeepEqual(append(first, second...), want) {
			t.Fatalf("cut at %d: %q and %q, %v", cut, first, second, err)
		}
	}
	for _, bad := range []string{"HELLO\r\n", "MSG a\r\n", "MSG a 2 -1\r\n", "MSG a 2 x\r\n", "MSG _I.1.x 1 0\r\n\r\n"} {
		if _, _, err := told(p, bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestNATSAppend(t *testing.T) {
	p := &natsProtocol{password: "p", stream: "S", run: 1}
	if got := string(p.AppendPublish(nil, 3, "c", 9, []byte("data"))); got != "PUB c _I00000001.3.9 4\r\ndata\r\n" {
		t.Errorf("publish %q", got)
	}
	if got := string(p.AppendSubscribe(nil, 3, "c", bench.Position{})); !strings.HasPrefix(got,
		"SUB _D00000001.3 2\r\nPUB $JS.API.CONSUMER.CREATE.S _I00000001.3.0 ") {
		t.Errorf("subscribe %q", got)
	}
	p.stream = ""
	if got := string(p.AppendPublish(nil, 3, "c", 9, []byte("data"))); got != "PUB c 4\r\ndata\r\n" {
		t.Errorf("publish %q", got)
	}
}

func TestCentrifugeParse(t *testing.T) {
	p := newCentrifugeProtocol(centrifugeConfig{Token: "t", History: 1})
	p.AppendPublish(nil, 0, "c", 1<<40|5, []byte(`"x"`))
	p.AppendPublish(nil, 0, "c", 1<<40|6, []byte(`"x"`))
	text := `{"id":1,"connect":{"client":"x","version":"v"}}` + "\n" +
		`{"id":2,"subscribe":{"recoverable":true,"epoch":"e","publications":[{"data":"a","offset":2},{"data":"b",` +
		`"info":{"user":"u"},"offset":3}],"recovered":true,"offset":3}}` + "\n" +
		`{"push":{"channel":"c","pub":{"data":"d","offset":4}}}` + "\n{}\n" +
		fmt.Sprintf(`{"id":%d,"publish":{}}`, p.last) + "\n" +
		fmt.Sprintf(`{"id":%d,"error":{"code":1,"message":"no"}}`, p.last-1)
	got, used, err := told(p, text)
	want := []string{
		"ready 0 0", "ready 0 3 e", `delivered 0 2  "a"`, `delivered 0 0  "b"`, `delivered 0 4  "d"`, "ping 0 0  {}",
		"acknowledged 1099511627782 0", "refused 0 0  no",
	}
	if err != nil || used != len(text) || !reflect.DeepEqual(got, want) {
		t.Errorf("told %q, %v", got, err)
	}
	for _, bad := range []string{
		"x", `{"id":99,"publish":{}}`, `{"id":3}`, `{"push":{"pub":{"data":"x`,
		`{"id":2,"subscribe":{"publications":[{`,
	} {
		if _, _, err := told(p, bad); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestCentrifugeMembersParse(t *testing.T) {
	p := newCentrifugeProtocol(centrifugeConfig{Token: "t", Members: true})
	text := `{"push":{"channel":"c","join":{"info":{"user":"17","client":"x"}}}}` + "\n" +
		`{"push":{"channel":"c","leave":{"info":{"user":"18","client":"y"}}}}` + "\n" + `{"id":9,"unsubscribe":{}}`
	var moves []string
	_, err := p.Parse([]byte(text), func(e bench.Event) {
		moves = append(moves, fmt.Sprint(e.Change.Entered, e.Change.Left))
	})
	if got := strings.Join(moves, ", "); err != nil || got != "[17] [], [] [18]" {
		t.Errorf("told %s, %v", got, err)
	}
	if _, err := p.Parse([]byte(`{"push":{"channel":"c","join":{}}}`), func(bench.Event) {}); err == nil {
		t.Error("a push without a member was taken")
	}
}
