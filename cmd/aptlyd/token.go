package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
)

func newToken() *cobra.Command {
	return group("token", "Make tokens for clients", newTokenMint(), newTokenCheck())
}

func newTokenMint() *cobra.Command {
	var secret string
	var token client.Token
	var ttl time.Duration
	var allow []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "mint",
		Short: "Sign a token as a backend would, without asking a node",
		Long: `Sign a token as a backend would, without asking a node. It travels where a key would:
as apiKey of a client, as x-api-key over HTTP.

  aptlyd token mint --kid key_… --sub user-17 --allow 'chat:17:*=subscribe,publish' --allow news=subscribe`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fillFlags(cmd.Flags(), ""); err != nil {
				return err
			}
			switch {
			case secret == "":
				return misuse{errors.New("--signing-secret (or APTLYD_SIGNING_SECRET) is needed")}
			case token.KeyID == "":
				return misuse{errors.New("--kid is needed: the id of the server key that the secret belongs to")}
			case len(allow) == 0:
				return misuse{errors.New("--allow is needed: a token that allows nothing is of no use")}
			case ttl <= 0:
				return misuse{errors.New("--ttl must be more than 0")}
			}
			var err error
			if token.Channels, err = parseAllowed(allow); err != nil {
				return misuse{err}
			}
			token.ExpiresAt = time.Now().Add(ttl)
			text, err := token.Sign(secret)
			if err != nil {
				return misuse{err}
			}
			return show(cmd, asJSON, map[string]any{"token": text, "expiresAt": token.ExpiresAt.Unix() * 1000},
				func(p *printer) { p.line("%s", text) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&secret, "signing-secret", "", "ss_… that came with the server key; env APTLYD_SIGNING_SECRET")
	f.StringVar(&token.KeyID, "kid", "", "id of that server key")
	f.StringVar(&token.Subject, "sub", "", "who the client is")
	f.DurationVar(&ttl, "ttl", 15*time.Minute, "how long the token is good for")
	f.StringArrayVar(&allow, "allow", nil, "PATTERN=ACTIONS of subscribe, publish, history (repeatable)")
	f.StringSliceVar(&token.Origins, "origin", nil,
		"origin that pages with the token may come from (repeatable; default: any client)")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// parseAllowed reads "PATTERN=ACTION,ACTION". A pattern may hold "=", an action not.
func parseAllowed(allow []string) (map[string][]string, error) {
	channels := make(map[string][]string)
	for _, text := range allow {
		at := strings.LastIndexByte(text, '=')
		if at < 1 {
			return nil, fmt.Errorf("--allow %q is not PATTERN=ACTIONS", text)
		}
		for action := range strings.SplitSeq(text[at+1:], ",") {
			switch action {
			case "subscribe", "publish", "history":
				channels[text[:at]] = append(channels[text[:at]], action)
			default:
				return nil, fmt.Errorf("--allow %q: %q is none of subscribe, publish, history", text, action)
			}
		}
	}
	return channels, nil
}
