// Command go follows a channel and answers each question in it, as a backend would:
//
//	go run ./examples/go -server ws://localhost:8080 -key sk_… -channel questions
//
// It keeps its position in a file, so that it goes on where it was when it is started
// again. Its answers have ids, so that no question is answered twice if that is within the
// ten minutes for which a broker knows an id.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/signal"
	"strings"

	"github.com/aptlyd/aptlyd/client"
)

func main() {
	server := flag.String("server", "ws://localhost:8080", "addresses of the nodes, comma-separated")
	key := flag.String("key", os.Getenv("APTLYD_KEY"), `server key, "sk_…"`)
	channel := flag.String("channel", "questions", "channel to follow; answers go to the channel with .answers behind")
	file := flag.String("position", "position.json", "file in which the position is kept")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, strings.Split(*server, ","), *key, *channel, *file); err != nil {
		log.Fatal(err)
	}
}

// position is up to where questions were answered.
type position struct {
	Offset uint64 `json:"offset"`
	Epoch  string `json:"epoch"`
}

func run(ctx context.Context, servers []string, key, channel, file string) error {
	at, err := load(file)
	if err != nil {
		return err
	}
	c, err := client.New(client.Options{Endpoints: servers, APIKey: key, FailFast: true})
	if err != nil {
		return err
	}
	defer c.Close()
	options := client.SubscribeOptions{From: client.After(at.Offset), Epoch: at.Epoch}
	for m, err := range c.Messages(ctx, channel, options) {
		if err != nil {
			return err
		}
		question, err := client.Decode[string](m)
		if err != nil {
			log.Print(err) // somebody published something else
			continue
		}
		_, err = c.Publish(ctx, client.Publication{
			Channel: channel + ".answers",
			Data:    fmt.Sprintf("%d letters: %s", len(question), question),
			ID:      fmt.Sprintf("%s-%d", channel, m.Offset),
		})
		if err != nil {
			return err
		}
		session, _ := c.Session()
		if err := store(file, position{m.Offset, session.Epoch}); err != nil {
			return err
		}
	}
	return nil
}

func load(file string) (at position, err error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return position{}, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &at)
	}
	return at, err
}

func store(file string, at position) error {
	raw, err := json.Marshal(at)
	if err != nil {
		return err
	}
	return os.WriteFile(file, raw, 0o600)
}
