package cluster

import (
	"net"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/aptlyd/aptlyd/cluster/peer"
)

func TestSecretsThatShareOneMeet(t *testing.T) {
	const before, after, other = "the secret before", "the secret after", "the secret of others"
	for _, test := range []struct {
		name          string
		dials, serves []string
		meet          bool
	}{
		{"the same", []string{before}, []string{before}, true},
		{"another", []string{before}, []string{other}, false},
		{"one who knows both, shows the old", []string{before, after}, []string{before}, true},
		{"met by one who knows both", []string{before}, []string{before, after}, true},
		{"both know both", []string{before, after}, []string{after, before}, true},
		{"the new one is shown too early", []string{after, before}, []string{before}, false},
		{"the old one is gone too early", []string{before, after}, []string{after}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := greetTLS(t, test.dials, test.serves); (err == nil) != test.meet {
				t.Errorf("on the peer port: %v", err)
			}
			from, err := gossipKeys(test.dials)
			if err != nil {
				t.Fatal(err)
			}
			to, err := gossipKeys(test.serves)
			if err != nil {
				t.Fatal(err)
			}
			if both := knows(to, from.GetPrimaryKey()) && knows(from, to.GetPrimaryKey()); both != test.meet {
				t.Error("in gossip it is otherwise")
			}
		})
	}
}

func knows(ring *memberlist.Keyring, key []byte) bool {
	for _, k := range ring.GetKeys() {
		if string(k) == string(key) {
			return true
		}
	}
	return false
}

// greetTLS shakes hands and says a word each way: in TLS 1.3 a client hears only
// then that it was refused.
func greetTLS(t *testing.T, dials, serves []string) error {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	server, err := peer.NewPreauth(serves)
	if err != nil {
		t.Fatal(err)
	}
	client, err := peer.NewPreauth(dials)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		secured, err := server.Accept(t.Context(), conn)
		if err != nil {
			return
		}
		if word, err := peer.ReadExactly(secured, 1); err == nil {
			secured.Write(word)
		}
	}()
	conn, err := net.DialTimeout("tcp", listener.Addr().String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	secured, err := client.Dial(t.Context(), conn)
	if err != nil {
		return err
	}
	if _, err := secured.Write([]byte{1}); err != nil {
		return err
	}
	_, err = peer.ReadExactly(secured, 1)
	return err
}
