package node

import (
	"context"
	"strings"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/admin"
)

// PurgeChannel implements admin.Operator. The counts come from reads before and after the
// command. Messages that are published or expire meanwhile may count as purged.
func (n *Node) PurgeChannel(ctx context.Context, by fsm.Actor, channel fsm.ChannelKey) (admin.Purged, error) {
	had, err := n.changeChannel(ctx, by, channel, fsm.PurgeChannel{By: by, Channel: channel}.Encode())
	if err != nil {
		return admin.Purged{}, err
	}
	has, err := n.state.Channel(channel)
	if err != nil {
		return admin.Purged{}, err
	}
	return admin.Purged{Messages: has.Earliest - had.Earliest, Offset: has.Earliest - 1}, nil
}

// ForgetChannel implements admin.Operator.
func (n *Node) ForgetChannel(ctx context.Context, by fsm.Actor, channel fsm.ChannelKey) (admin.Purged, error) {
	command := fsm.ForgetChannels{By: by, Project: channel.Project, Names: []string{channel.Name}}
	had, err := n.changeChannel(ctx, by, channel, command.Encode())
	if err != nil {
		return admin.Purged{}, err
	}
	return admin.Purged{Messages: had.Head + 1 - had.Earliest, Offset: had.Head}, nil
}

// ForgetChannels implements admin.Operator.
func (n *Node) ForgetChannels(ctx context.Context, by fsm.Actor, project,
	prefix string,
) (forgotten int, more bool, err error) {
	if err := n.CatchUp(ctx); err != nil {
		return 0, false, err
	}
	infos, err := n.state.Channels(project, before(prefix), fsm.MaxForget+1)
	if err != nil {
		return 0, false, err
	}
	var names []string
	for _, info := range infos {
		if strings.HasPrefix(info.Name, prefix) {
			names = append(names, info.Name)
		}
	}
	if len(names) == 0 {
		return 0, false, nil
	}
	more = len(names) > fsm.MaxForget
	names = names[:min(len(names), fsm.MaxForget)]
	err = n.change(ctx, by, fsm.ForgetChannels{By: by, Project: project, Names: names}.Encode())
	return len(names), more, err
}

// changeChannel commits a command about a channel and returns the channel's bounds just
// before.
func (n *Node) changeChannel(ctx context.Context, by fsm.Actor, channel fsm.ChannelKey,
	command []byte,
) (fsm.ChannelInfo, error) {
	if err := n.CatchUp(ctx); err != nil {
		return fsm.ChannelInfo{}, err
	}
	had, err := n.state.Channel(channel)
	if err != nil {
		return had, err
	}
	return had, n.change(ctx, by, command)
}
