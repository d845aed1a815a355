package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/aptlyd/aptlyd/bench"
)

// natsProtocol is the client protocol of NATS, over TCP or WebSocket. With a
// stream, what is published is acknowledged by JetStream, and subscribers are
// JetStream consumers.
//
// See https://docs.nats.io/reference/reference-protocols/nats-protocol.
type natsProtocol struct {
	password  string
	webSocket bool
	stream    string
	run       uint32 // tells inboxes of one run from those of another
}

// Subscriptions of every connection.
const (
	inboxSID   = "1"
	channelSID = "2"
)

// subscribeID is the id of answers to the creation of a consumer.
const subscribeID = 0

func (p *natsProtocol) Transport() bench.Transport {
	return bench.Transport{WebSocket: p.webSocket, Path: "/", Binary: true, Stream: true, Silent: p.stream == ""}
}

func (p *natsProtocol) AppendLogin(dst []byte, member int) []byte {
	dst = fmt.Appendf(dst, `CONNECT {"verbose":false,"pedantic":false,"user":%q,"pass":%q,`+
		`"lang":"go","version":"1","protocol":1}`+"\r\n",
		natsUser, p.password)
	if p.stream != "" {
		dst = fmt.Appendf(dst, "SUB _I%08x.%d.* %s\r\n", p.run, member, inboxSID)
	}
	return append(dst, "PING\r\n"...)
}

func (p *natsProtocol) AppendSubscribe(dst []byte, member int, channel string, _ bench.Position) []byte {
	if p.stream == "" {
		return fmt.Appendf(dst, "SUB %s %s\r\nPING\r\n", channel, channelSID)
	}
	deliver := fmt.Sprintf("_D%08x.%d", p.run, member)
	consumer := fmt.Sprintf(`{"stream_name":%q,"config":{"deliver_subject":%q,"filter_subject":%q,"deliver_policy":"all",`+
		`"ack_policy":"none","replay_policy":"instant","mem_storage":true,"num_replicas":1}}`, p.stream, deliver, channel)
	return fmt.Appendf(dst, "SUB %s %s\r\nPUB $JS.API.CONSUMER.CREATE.%s _I%08x.%d.%d %d\r\n%s\r\n",
		deliver, channelSID, p.stream, p.run, member, subscribeID, len(consumer), consumer)
}

func (p *natsProtocol) AppendPublish(dst []byte, member int, channel string, id uint64, data []byte) []byte {
	dst = append(append(dst, "PUB "...), channel...)
	if p.stream != "" {
		dst = fmt.Appendf(dst, " _I%08x.%d.%d", p.run, member, id)
	}
	dst = append(strconv.AppendInt(append(dst, ' '), int64(len(data)), 10), '\r', '\n')
	return append(append(dst, data...), '\r', '\n')
}

func (p *natsProtocol) Parse(data []byte, emit func(bench.Event)) (used int, err error) {
	for {
		line, rest, found := bytes.Cut(data[used:], []byte("\r\n"))
		if !found {
			return used, nil
		}
		operation, arguments, _ := bytes.Cut(line, []byte{' '})
		switch string(operation) {
		case "MSG":
			message, err := parseMSG(arguments)
			if err != nil {
				return used, err
			}
			if len(rest) < message.size+2 {
				return used, nil
			}
			used += len(line) + 2 + message.size + 2
			if err := message.tell(rest[:message.size], emit); err != nil {
				return used, err
			}
			continue
		case "PING":
			emit(bench.Event{Kind: bench.Ping, Data: []byte("PONG\r\n")})
		case "PONG":
			emit(bench.Event{Kind: bench.Ready})
		case "-ERR":
			emit(bench.Event{Kind: bench.Refused, Data: arguments})
		case "INFO", "+OK":
		default:
			return used, fmt.Errorf("parse: unknown operation %.20q", line)
		}
		used += len(line) + 2
	}
}

// msg are the arguments of a MSG: subject, sid, reply-to if any, size.
type msg struct {
	subject, sid []byte
	size         int
}

var errMSG = errors.New("parse: MSG is malformed")

func parseMSG(arguments []byte) (m msg, err error) {
	var ok bool
	if m.subject, arguments, ok = bytes.Cut(arguments, []byte{' '}); !ok {
		return msg{}, errMSG
	}
	if m.sid, arguments, ok = bytes.Cut(arguments, []byte{' '}); !ok {
		return msg{}, errMSG
	}
	size := arguments[bytes.LastIndexByte(arguments, ' ')+1:]
	if m.size, err = strconv.Atoi(string(size)); err != nil || m.size < 0 {
		return msg{}, errMSG
	}
	return m, nil
}

// tell says what a message means.
func (m msg) tell(payload []byte, emit func(bench.Event)) error {
	if string(m.sid) == channelSID {
		emit(bench.Event{Kind: bench.Delivered, Data: payload})
		return nil
	}
	id, err := strconv.ParseUint(string(m.subject[bytes.LastIndexByte(m.subject, '.')+1:]), 10, 64)
	if err != nil {
		return fmt.Errorf("parse: inbox %q has no id", m.subject)
	}
	switch {
	case bytes.Contains(payload, []byte(`"error":`)):
		emit(bench.Event{Kind: bench.Refused, Data: payload})
	case id == subscribeID:
		emit(bench.Event{Kind: bench.Ready})
	default:
		emit(bench.Event{Kind: bench.Acknowledged, ID: id})
	}
	return nil
}

// startNATS starts one nats-server without JetStream, spoken to over WebSocket.
func startNATS(context.Context) (bench.Target, func() error, error) {
	password := newSecret()
	var ready natsReady
	c, err := startChild("", natsRole, natsConfig{Name: "n1", Password: password}, &ready)
	if err != nil {
		return bench.Target{}, nil, err
	}
	return bench.Target{
		Servers:  []string{"ws://" + ready.WebSocket},
		PIDs:     []int{c.pid()},
		Protocol: &natsProtocol{password: password, webSocket: true, run: rand.Uint32()},
	}, c.stop, nil
}
