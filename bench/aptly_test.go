package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
)

// FuzzAptlyParse gives the parser anything, and messages whose content it must
// give back.
func FuzzAptlyParse(f *testing.F) {
	f.Add([]byte(`{"type":"message","channel":"c","data":"x","offset":7,"timestamp":1,"replay":false}`), "c", "x",
		uint64(7))
	f.Add([]byte(`{"type":"message","channel":"c","data":"`), "a\"b", "", uint64(0))
	f.Add([]byte(`{"type":"published","channel":"c"`), "\\", `\"`, uint64(1<<53))
	f.Fuzz(func(t *testing.T, anything []byte, channel, data string, offset uint64) {
		// Whatever comes, the parser returns.
		_, _ = (aptly{}).Parse(anything, func(Event) {})

		name, err1 := json.Marshal(channel)
		quoted, err2 := json.Marshal(data)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		text := fmt.Appendf(nil, `{"type":"message","channel":%s,"data":%s,"offset":%d,"timestamp":1,"replay":true}`, name,
			quoted, offset)
		var events []Event
		if _, err := (aptly{}).Parse(text, func(e Event) { events = append(events, e) }); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if len(events) != 1 || events[0].Kind != Delivered || string(events[0].Data) != string(quoted) ||
			events[0].Offset != offset {
			t.Fatalf("%s was read as %+v", text, events)
		}
	})
}

func TestAptlyParse(t *testing.T) {
	for text, want := range map[string]string{
		`{"type":"connected","epoch":"e"}`:                                           `ready 0 0 0 e`,
		`{"type":"subscribed","channel":"c","offset":7,"earliest":3,"epoch":"e"}`:    `ready 7 0 3 e`,
		`{"type":"subscribed","channel":"a\"b","offset":7,"earliest":3,"epoch":"e"}`: `ready 7 0 3 e`,
		`{"type":"subscribed","channel":"c","epoch":"e","offset":7,"earliest":3}`:    `ready 7 0 3 e`,
		`{"type":"auth_success"}`:                                                    ``,
		`{"epoch":"e","type":"connected"}`:                                           `ready 0 0 0 e`,
		`{"type":"message","channel":"c","data":"x","offset":7,"timestamp":1}`:       `delivered 7 0 0 `,
		`{"offset":7,"type":"message","channel":"c","data":"x"}`:                     `delivered 7 0 0 `,
		`{"type":"published","channel":"c","offset":7,"timestamp":1}`:                `acknowledged 7 0 0 `,
		`{"type":"gap","channel":"c","from":4,"to":6}`:                               `gap 4 6 0 `,
		`{"type":"error","error":"no","code":"forbidden","channel":"c"}`:             `refused 0 0 0 `,
		`{"type":"heartbeat"}`:                                                       ``,
		`{"type":"news"}`:                                                            `error`,
		`{"type":"message","channel":"c","data":"x","offset":-7}`:                    `error`,
		`[]`: `error`,
	} {
		got := ""
		used, err := (aptly{}).Parse([]byte(text), func(e Event) {
			kind := map[EventKind]string{
				Ready: "ready", Delivered: "delivered", Acknowledged: "acknowledged", Gap: "gap",
				Refused: "refused",
			}[e.Kind]
			got += fmt.Sprint(kind, " ", e.Offset, " ", e.To, " ", e.Earliest, " ", e.Epoch)
		})
		if err != nil {
			got = "error"
		} else if used != len(text) {
			t.Errorf("%s: used %d bytes", text, used)
		}
		if got != want {
			t.Errorf("%s was read as %q", text, got)
		}
	}
}
