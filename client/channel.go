package client

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// Channel is a channel that was published to.
type Channel struct {
	Name        string `json:"name"`
	Offset      uint64 `json:"offset"`   // newest
	Earliest    uint64 `json:"earliest"` // oldest retained; Offset+1 when there is none
	Bytes       int64  `json:"bytes"`    // payload retained
	Subscribers int    `json:"subscribers"`
	Members     int    `json:"members"`
}

// Purge says what a purge removed.
type Purge struct {
	Channel  string `json:"channel"`
	Messages uint64 `json:"purged"` // that were retained
	Offset   uint64 `json:"offset"` // of the newest message that is gone

	Forgotten bool `json:"forgotten,omitempty"` // the channel, too
}

// PurgeChannel removes all messages of a channel, whose offsets go on.
func (a *Admin) PurgeChannel(ctx context.Context, project, channel string) (Purge, error) {
	return purged(ctx, a, messagesOf(http.MethodDelete, project, channel))
}

// ForgetChannel purges a channel and frees its place in the project's quota. Made again,
// it begins above the offsets that it had.
func (a *Admin) ForgetChannel(ctx context.Context, project, channel string) (Purge, error) {
	c := messagesOf(http.MethodDelete, project, channel)
	c.query.Set("forget", "true")
	return purged(ctx, a, c)
}

// ForgetChannels forgets every channel whose name begins with a prefix and returns how
// many those were.
func (a *Admin) ForgetChannels(ctx context.Context, project, prefix string) (forgotten int, err error) {
	for {
		answer, err := request[struct {
			Forgotten int  `json:"forgotten"`
			More      bool `json:"more"`
		}](ctx, a, call{
			method: http.MethodDelete, path: "/projects/{id}/channels", id: project,
			query: url.Values{"prefix": {prefix}},
		})
		forgotten += answer.Forgotten
		if err != nil || !answer.More {
			return forgotten, err
		}
	}
}

func purged(ctx context.Context, a *Admin, c call) (Purge, error) {
	purge, err := request[Purge](ctx, a, c)
	channel := c.query.Get("channel")
	if err == nil && purge.Channel != channel {
		err = fmt.Errorf("admin: the node was asked to purge %q and says that it purged %q", channel, purge.Channel)
	}
	return purge, err
}

// messagesOf is a call about the messages of a channel. Clients choose the names of
// channels, so one is never part of a path.
func messagesOf(method, project, channel string) call {
	return call{method: method, path: "/projects/{id}/messages", id: project, query: url.Values{"channel": {channel}}}
}

// ChannelFilter chooses channels of a project.
type ChannelFilter struct {
	Prefix string // of the names; "" for all
	Active bool   // only those that have subscribers or members now
}

// Channels lists the channels of a project that a filter chooses, by name.
func (a *Admin) Channels(ctx context.Context, project string, filter ChannelFilter) iter.Seq2[Channel, error] {
	filters := url.Values{"prefix": {filter.Prefix}}
	if filter.Active {
		filters.Set("active", "true")
	}
	return list(ctx, a, call{path: "/projects/{id}/channels", id: project, query: filters},
		func(page *listPage) []Channel { return page.Channels })
}

// Messages returns up to limit messages of a channel whose offsets are above
// after. A limit of 0 leaves it to the node.
func (a *Admin) Messages(ctx context.Context, project, channel string, after uint64, limit int) (History, error) {
	c := messagesOf(http.MethodGet, project, channel)
	c.query.Set("after", strconv.FormatUint(after, 10))
	if limit > 0 {
		c.query.Set("limit", strconv.Itoa(limit))
	}
	h, err := request[History](ctx, a, c)
	h.label(channel)
	return h, err
}
