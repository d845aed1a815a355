package node

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/gateway/presence"
)

// subscribersQuestion asks how many subscribers each channel of a project has. The answer
// maps channel names to numbers.
type subscribersQuestion struct {
	Project string `json:"project"`
}

// Channels implements admin.Operator.
func (n *Node) Channels(ctx context.Context, q admin.ChannelQuery) ([]admin.ChannelStatus, error) {
	q.Cursor = max(q.Cursor, before(q.Prefix))
	subscribers := n.gateway.Subscribers(q.Project)
	others, err := askPeers[counts](ctx, n, question{Subscribers: &subscribersQuestion{q.Project}})
	if err != nil {
		return nil, err
	}
	for _, counts := range others {
		for name, count := range counts {
			subscribers[name] += count
		}
	}
	members := n.gateway.Members().Numbers(q.Project)
	var infos []fsm.ChannelInfo
	if !q.Active {
		if infos, err = n.state.Channels(q.Project, q.Cursor, q.Limit); err != nil {
			return nil, err
		}
	}
	return n.joinChannels(q, infos, subscribers, members)
}

// joinChannels merges channels with messages and channels that only have subscribers or
// members, and cuts the list to the query.
func (n *Node) joinChannels(q admin.ChannelQuery, infos []fsm.ChannelInfo,
	subscribers map[string]int, members map[string]presence.Numbers,
) ([]admin.ChannelStatus, error) {
	stored := make(map[string]fsm.ChannelInfo, len(infos))
	names := make([]string, 0, len(infos)+len(subscribers))
	for _, info := range infos {
		stored[info.Name] = info
		names = append(names, info.Name)
	}
	for _, name := range slices.Concat(slices.Collect(maps.Keys(subscribers)), slices.Collect(maps.Keys(members))) {
		if _, known := stored[name]; !known && name > q.Cursor {
			names = append(names, name)
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasPrefix(name, q.Prefix) || max(subscribers[name], members[name].Members) < q.Min
	})
	slices.Sort(names)
	names = slices.Compact(names)
	names = names[:min(q.Limit, len(names))]
	channels := make([]admin.ChannelStatus, len(names))
	for i, name := range names {
		info, known := stored[name]
		if !known {
			var err error
			if info, err = n.state.Channel(fsm.ChannelKey{Project: q.Project, Name: name}); err != nil {
				return nil, err
			}
		}
		channels[i] = admin.ChannelStatus{ChannelInfo: info, Subscribers: subscribers[name], Members: members[name].Members}
	}
	return channels, nil
}

// before returns a text that sorts directly before all names with the prefix. Names are
// UTF-8, in which the byte 0xff does not occur.
func before(prefix string) string {
	if prefix == "" {
		return ""
	}
	last := len(prefix) - 1
	return prefix[:last] + string([]byte{prefix[last] - 1, 0xff})
}
