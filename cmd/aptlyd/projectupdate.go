package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
)

func newProjectUpdate() *cobra.Command {
	var r remote
	var name, rules string
	var origins, subscribe, publish, enter, members []string
	var native bool
	var quotas client.Quotas
	var first uint64
	cmd := &cobra.Command{
		Use:   "update PROJECT",
		Short: "Change a project (by id or name); what no flag names stays",
		Args:  cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	cmd.RunE = r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, args []string) error {
		project, err := findProject(ctx, admin, args[0])
		if err != nil {
			return err
		}
		var change client.ProjectChange
		changed := f.Changed
		if changed("name") {
			change.Name = &name
		}
		if changed("origin") {
			change.AllowedOrigins = nonEmpty(origins)
		}
		if changed("native") {
			change.AllowNativeClients = &native
		}
		if changed("rules") {
			change.Rules = &[]client.Rule{}
			if err := json.Unmarshal([]byte(rules), change.Rules); err != nil {
				return misuse{fmt.Errorf("--rules is not a JSON list of rules: %w", err)}
			}
		}
		if changed("subscribe") || changed("publish") || changed("presence") || changed("members") {
			change.Access = &project.Access
			if changed("presence") {
				change.Access.Presence = *nonEmpty(enter)
			}
			if changed("members") {
				change.Access.Members = *nonEmpty(members)
			}
			if changed("subscribe") {
				change.Access.Subscribe = *nonEmpty(subscribe)
			}
			if changed("publish") {
				if change.Access.Publish, err = parseGrants(*nonEmpty(publish)); err != nil {
					return misuse{err}
				}
			}
		}
		if slices.ContainsFunc([]string{
			"max-connections", "max-channels", "publish-rate", "max-subscriptions", "max-members",
		}, changed) {
			change.Quotas = &project.Quotas
			if changed("max-connections") {
				change.Quotas.Connections = quotas.Connections
			}
			if changed("max-channels") {
				change.Quotas.Channels = quotas.Channels
			}
			if changed("max-members") {
				change.Quotas.Members = quotas.Members
			}
			if changed("max-subscriptions") {
				change.Quotas.Subscriptions = quotas.Subscriptions
			}
			if changed("publish-rate") {
				if math.IsNaN(quotas.PublishRate) || math.IsInf(quotas.PublishRate, 0) {
					return misuse{errors.New("--publish-rate is not a number")}
				}
				change.Quotas.PublishRate = quotas.PublishRate
			}
		}
		if changed("first-offset") {
			change.FirstOffset = &first
		}
		if change == (client.ProjectChange{}) {
			return misuse{errors.New("name what to change with a flag")}
		}
		if project, err = admin.UpdateProject(ctx, project.ID, change); err != nil {
			return err
		}
		return show(cmd, r.json, project, func(p *printer) { describe(p, project) })
	})
	r.addAdminFlags(cmd)
	f.StringVar(&name, "name", "", "what people call the project")
	f.StringSliceVar(&origins, "origin", nil, `origins that browsers may come from, all of them (repeatable; "" for none)`)
	f.BoolVar(&native, "native", false, "allow clients that send no origin")
	f.StringVar(&rules, "rules", "", `JSON list of channel rules, such as '[{"pattern":"chat:*","keepFor":"1h"}]'`)
	f.StringSliceVar(&subscribe, "subscribe", nil,
		`patterns that public keys may subscribe to, all of them ("*" for everything, "" for nothing)`)
	f.StringSliceVar(&publish, "publish", nil,
		`patterns that public keys may publish to, with a rate a second and a burst: 'cursor:*=10/20' ("" for none)`)
	f.IntVar(&quotas.Connections, "max-connections", 0,
		"connections of the project in the whole cluster; 0 for any number")
	f.IntVar(&quotas.Channels, "max-channels", 0, "channels that were ever published to; 0 for any number")
	f.Float64Var(&quotas.PublishRate, "publish-rate", 0, "messages a second in the whole cluster; 0 for any number")
	f.IntVar(&quotas.Subscriptions, "max-subscriptions", 0,
		"subscriptions of all its connections in the whole cluster; 0 for any number")
	f.IntVar(&quotas.Members, "max-members", 0,
		"members of all its channels together; 0 for 100,000")
	f.StringSliceVar(&enter, "presence", nil,
		`patterns of channels that public keys may be members of, all of them ("" for none)`)
	f.StringSliceVar(&members, "members", nil,
		`patterns of channels whose members public keys may see, all of them ("" for none)`)
	f.Uint64Var(&first, "first-offset", 1,
		"offset of the first message of channels that are made from now on; it can only grow")
	return cmd
}

// nonEmpty returns a list without its empty elements. A list of only empty elements means
// none.
func nonEmpty(list []string) *[]string {
	kept := []string{}
	for _, text := range list {
		if text != "" {
			kept = append(kept, text)
		}
	}
	return &kept
}

// parseGrants reads "PATTERN=RATE" or "PATTERN=RATE/BURST".
func parseGrants(list []string) ([]client.PublishGrant, error) {
	grants := []client.PublishGrant{}
	for _, text := range list {
		at := strings.LastIndexByte(text, '=')
		if at < 1 {
			return nil, fmt.Errorf("--publish %q is not PATTERN=RATE/BURST", text)
		}
		grant := client.PublishGrant{Pattern: text[:at]}
		rate, burst, given := strings.Cut(text[at+1:], "/")
		var err error
		if grant.Rate, err = strconv.ParseFloat(rate, 64); err != nil || !(grant.Rate > 0) || math.IsInf(grant.Rate, 0) {
			return nil, fmt.Errorf("--publish %q: the rate is not a number above 0", text)
		}
		if given {
			if grant.Burst, err = strconv.Atoi(burst); err != nil {
				return nil, fmt.Errorf("--publish %q: the burst is not a whole number", text)
			}
		}
		grants = append(grants, grant)
	}
	return grants, nil
}

func describe(p *printer, project client.Project) {
	p.line("project\t%s", project.ID)
	p.line("name\t%s", project.Name)
	p.line("origins\t%s", or(strings.Join(project.AllowedOrigins, " "), "none"))
	p.line("native clients\t%v", project.AllowNativeClients)
	p.line("rules\t%d", len(project.Rules))
	p.line("public keys subscribe to\t%s", or(strings.Join(project.Access.Subscribe, " "), "nothing"))
	if list := project.Access.Presence; len(list) > 0 {
		p.line("public keys are members of\t%s", strings.Join(list, " "))
	}
	if list := project.Access.Members; len(list) > 0 {
		p.line("public keys see the members of\t%s", strings.Join(list, " "))
	}
	for _, grant := range project.Access.Publish {
		p.line("public keys publish to\t%s, %g a second, %d at once", grant.Pattern, grant.Rate, grant.Burst)
	}
	if project.FirstOffset > 1 {
		p.line("new channels begin at\t%d", project.FirstOffset)
	}
	for _, quota := range []struct {
		name  string
		bound float64
	}{
		{"connections", float64(project.Quotas.Connections)},
		{"channels", float64(project.Quotas.Channels)},
		{"subscriptions", float64(project.Quotas.Subscriptions)},
		{"members", float64(project.Quotas.Members)},
		{"publishes a second", project.Quotas.PublishRate},
	} {
		if quota.bound > 0 {
			p.line("at most\t%g %s", quota.bound, quota.name)
		}
	}
}
