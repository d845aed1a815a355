package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// ChannelMember is a user who is in a channel.
type ChannelMember struct {
	ID   string          `json:"id"`
	Data json.RawMessage `json:"data"` // what its latest enter or update said
	// Since is when it entered, Unix ms.
	Since int64 `json:"since"`
	// Connections is on how many connections it is there. It is 0 while it may come back
	// after its connection broke.
	Connections int `json:"connections"`
}

// Occupancy says how many are in a channel.
type Occupancy struct {
	Channel     string `json:"channel"`
	Count       int    `json:"count"` // members
	Subscribers int    `json:"subscribers"`
	// Complete is false while the part of a node is not known.
	Complete bool `json:"complete"`
}

// memberPage is one answer with members.
type memberPage struct {
	Occupancy
	Members []ChannelMember `json:"members"`
	Next    string          `json:"next"`
}

// Occupancy returns how many are in a channel. It takes a server key.
func (r *REST) Occupancy(ctx context.Context, channel string) (Occupancy, error) {
	page, err := r.members(ctx, channel, "", 1)
	return page.Occupancy, err
}

// Members lists the members of a channel by id. It takes a server key.
func (r *REST) Members(ctx context.Context, channel string) iter.Seq2[ChannelMember, error] {
	return eachMember(func(cursor string) (memberPage, error) { return r.members(ctx, channel, cursor, 0) })
}

func (r *REST) members(ctx context.Context, channel, cursor string, limit int) (page memberPage, err error) {
	query := url.Values{"channel": {channel}, "cursor": {cursor}}
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	if err := r.do(ctx, call{method: http.MethodGet, path: "/realtime/presence", query: query}, &page); err != nil {
		return memberPage{}, fmt.Errorf("list members of %q: %w", channel, err)
	}
	return page, nil
}

// Members lists the members of a channel by id.
func (a *Admin) Members(ctx context.Context, project, channel string) iter.Seq2[ChannelMember, error] {
	return eachMember(func(cursor string) (memberPage, error) {
		return request[memberPage](ctx, a, call{
			method: http.MethodGet, path: "/projects/{id}/presence", id: project,
			query: url.Values{"channel": {channel}, "cursor": {cursor}},
		})
	})
}

// eachMember goes through pages.
func eachMember(read func(cursor string) (memberPage, error)) iter.Seq2[ChannelMember, error] {
	return func(yield func(ChannelMember, error) bool) {
		for cursor := ""; ; {
			page, err := read(cursor)
			if err != nil {
				yield(ChannelMember{}, err)
				return
			}
			for _, m := range page.Members {
				if !yield(m, nil) {
					return
				}
			}
			if cursor = page.Next; cursor == "" {
				return
			}
		}
	}
}
