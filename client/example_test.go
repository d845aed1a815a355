package client_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/node"
)

// startNode starts a node for an example and returns its address and a server key.
func startNode() (address, key string, stop func()) {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	cfg := node.DefaultConfig()
	cfg.DataDir, cfg.Logger = dir, slog.New(slog.DiscardHandler)
	cfg.Listen, cfg.PeerListen, cfg.GossipListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	n, err := node.Start(cfg)
	if err == nil {
		err = n.Ready(context.Background())
	}
	if err != nil {
		log.Fatal(err)
	}
	credentials, _ := n.Credentials()
	return n.Addr().String(), credentials.ServerKey, func() {
		_ = n.Close()
		_ = os.RemoveAll(dir)
	}
}

// A channel is followed in a loop, from where a process before was.
func ExampleClient_Messages() {
	address, key, stop := startNode()
	defer stop()

	c, err := client.New(client.Options{Endpoints: []string{address}, APIKey: key})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	type order struct {
		Number int
		Item   string
	}
	for i, item := range []string{"tea", "milk", "bread"} {
		// The id makes it safe to publish again when the outcome is not known.
		id := fmt.Sprint("order-", i)
		if _, err := c.Publish(ctx, client.Publication{Channel: "orders", Data: order{i, item}, ID: id}); err != nil {
			log.Fatal(err)
		}
	}
	for m, err := range c.Messages(ctx, "orders", client.SubscribeOptions{From: client.After(1)}) {
		if err != nil {
			log.Fatal(err)
		}
		o, err := client.Decode[order](m)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.Offset, o.Item)
		if m.Offset == 3 {
			break
		}
	}
	// Output:
	// 2 milk
	// 3 bread
}

// A state that is kept elsewhere is loaded with its position, and anew when what
// follows is not there any more.
func ExampleClient_Subscribe() {
	address, key, stop := startNode()
	defer stop()

	c, err := client.New(client.Options{Endpoints: []string{address}, APIKey: key})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	var sum int
	changed := make(chan int, 1)
	s, err := c.Subscribe(ctx, "numbers", client.SubscribeOptions{
		LoadState: func(context.Context) (offset uint64, epoch string, err error) {
			sum = 40 // from a database, with the offset that it is as of
			return 0, "", nil
		},
		OnMessage: func(m client.Message) {
			n, err := client.Decode[int](m)
			if err != nil {
				log.Fatal(err)
			}
			sum += n
			changed <- sum
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Unsubscribe()
	if _, err := c.Publish(ctx, client.Publication{Channel: "numbers", Data: 2}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-changed)
	// Output: 42
}

func ExampleVerifyWebhook() {
	http.HandleFunc("POST /hook", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err == nil {
			err = client.VerifyWebhook(os.Getenv("SECRET"), r.Header, body, time.Now())
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})

	header := http.Header{}
	header.Set("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
	header.Set("webhook-timestamp", "1614265330")
	header.Set("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
	err := client.VerifyWebhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", header, []byte(`{"test": 2432232314}`),
		time.Unix(1614265330, 0))
	fmt.Println(err)
	// Output: <nil>
}
