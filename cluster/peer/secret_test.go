package peer

import (
	"net"
	"testing"
	"time"
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
				t.Errorf("the handshake: %v", err)
			}
		})
	}
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
	server, err := NewPreauth(serves)
	if err != nil {
		t.Fatal(err)
	}
	client, err := NewPreauth(dials)
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
		if word, err := ReadExactly(secured, 1); err == nil {
			secured.Write(word)
		}
	}()
	conn, err := net.DialTimeout("tcp", listener.Addr().String(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	secured, err := client.Dial(t.Context(), conn)
	if err != nil {
		return err
	}
	if _, err := secured.Write([]byte{1}); err != nil {
		return err
	}
	_, err = ReadExactly(secured, 1)
	return err
}
