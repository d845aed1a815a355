package client

import (
	"context"
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
}

// PurgeChannel removes all messages of a channel, whose offsets go on.
func (a *Admin) PurgeChannel(ctx context.Context, project, channel string) error {
	path := "/projects/" + url.PathEscape(project) + "/channels/" + url.PathEscape(channel)
	return a.do(ctx, call{method: http.MethodDelete, path: path}, nil)
}

// ChannelFilter chooses channels of a project.
type ChannelFilter struct {
	Prefix string // of the names; "" for all
	Active bool   // only those that have subscribers now
}

// Channels lists the channels of a project that a filter chooses, by name.
func (a *Admin) Channels(ctx context.Context, project string, filter ChannelFilter) iter.Seq2[Channel, error] {
	filters := url.Values{"prefix": {filter.Prefix}}
	if filter.Active {
		filters.Set("active", "true")
	}
	path := "/projects/" + url.PathEscape(project) + "/channels"
	return listWhere(ctx, a, path, filters, func(page *listPage) []Channel { return page.Channels })
}

// Messages returns up to limit messages of a channel whose offsets are above
// after. A limit of 0 leaves it to the node.
func (a *Admin) Messages(ctx context.Context, project, channel string, after uint64, limit int) (History, error) {
	values := url.Values{"after": {strconv.FormatUint(after, 10)}}
	if limit > 0 {
		values.Set("limit", strconv.Itoa(limit))
	}
	path := "/projects/" + url.PathEscape(project) + "/channels/" + url.PathEscape(channel) + "/messages"
	h, err := request[History](ctx, a, http.MethodGet, path, values, nil)
	h.label(channel)
	return h, err
}
