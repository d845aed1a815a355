package fsm

import (
	"math"

	"github.com/aptlyd/aptlyd/internal/wire"
)

// control applies any command except Publish. An error means that the state cannot go on.
func (a *application) control(command any) (*refusal, error) {
	switch c := command.(type) {
	case *Init:
		return a.init(c), nil
	case *CreateProject:
		return a.addProject(c), nil
	case *UpdateProject:
		return a.updateProject(c), nil
	case *DeleteProject:
		return a.deleteProject(c), nil
	case *CreateKey:
		return a.addKey(c), nil
	case *RotateKey:
		return a.rotateKey(c), nil
	case *RevokeKey:
		return a.revokeKey(c), nil
	case *UpdateSettings:
		return a.updateSettings(c), nil
	case *KeysUsed:
		a.keysUsed(c)
	case *AddUsage:
		a.addUsage(c)
	case *CreateAdminToken:
		return a.createAdminToken(c), nil
	case *RevokeAdminToken:
		return a.revokeAdminToken(c), nil
	case *PurgeChannel:
		return a.purgeChannel(c)
	case *ForgetChannels:
		return a.forgetChannels(c)
	case *Seal:
		return a.seal(c), nil
	case *Note:
		a.record(c.By, c.Action, c.Target, nil, nil)
	}
	return nil, nil
}

func (a *application) init(c *Init) *refusal {
	if a.cluster.initialised {
		return nil
	}
	if c.Project.ID != "" {
		if r := a.createProject(&c.Project, c.Keys); r != nil {
			return r
		}
	}
	a.cluster = cluster{c.ClusterID, c.Epoch, c.Keyring, true}
	a.gathering.set(bucketMeta, string(metaCluster), a.cluster.append(nil))
	a.setAdminToken(&AdminToken{
		ID: FirstAdminToken, Name: "first", Role: Owner, Hash: c.AdminTokenHash, CreatedAt: a.stamp,
	})
	a.record(c.By, "cluster.init", c.ClusterID, nil, nil)
	return nil
}

func (a *application) seal(c *Seal) *refusal {
	if !a.cluster.initialised {
		return refuse(codeInvalid, "keyring of a cluster without its first state")
	}
	a.cluster.keyring = c.Keyring
	a.gathering.set(bucketMeta, string(metaCluster), a.cluster.append(nil))
	a.record(c.By, "keyring.seal", a.cluster.id, nil, nil)
	return nil
}

func (a *application) addProject(c *CreateProject) *refusal {
	if r := a.createProject(&c.Project, c.Keys); r != nil {
		return r
	}
	shown := showProject(&c.Project)
	for i := range c.Keys {
		shown.Keys = append(shown.Keys, *showKey(&c.Keys[i]))
	}
	a.record(c.By, "project.create", c.Project.ID, nil, shown)
	return nil
}

func (a *application) createProject(p *Project, keys []Key) *refusal {
	if !namable(p.ID, maxProjectID) {
		return refuse(codeInvalid, "project id of %d bytes", len(p.ID))
	}
	_, taken := a.registry.project(p.ID)
	if _, gone := a.registry.tombstones[p.ID]; taken || gone {
		return refuse(codeConflict, "project %q exists, or did", p.ID)
	}
	if r := p.check(); r != nil {
		return r
	}
	ids, hashes := make(map[string]bool), make(map[KeyHash]bool)
	for i := range keys {
		k := &keys[i]
		if k.Project != p.ID {
			return refuse(codeInvalid, "key %q of project %q", k.ID, k.Project)
		}
		if r := a.checkKey(k); r != nil {
			return r
		}
		if ids[k.ID] || hashes[k.Hash] {
			return refuse(codeConflict, "key %q exists", k.ID)
		}
		ids[k.ID], hashes[k.Hash] = true, true
	}
	made := &project{Project: *p, version: 1}
	made.CreatedAt = a.stamp
	a.setProject(made)
	for i := range keys {
		keys[i].CreatedAt = a.stamp
		a.setKey(&keys[i])
	}
	return nil
}

func (a *application) updateProject(c *UpdateProject) *refusal {
	old, ok := a.registry.project(c.ID)
	if !ok {
		return refuse(codeNotFound, "project %q", c.ID)
	}
	next := *old
	if c.Rules != nil {
		withRules, ok := old.withRules(*c.Rules, a.stamp)
		if !ok {
			return refuse(codeRateLimited, "%d changes of the rules of project %q", maxPastRules, c.ID)
		}
		next = *withRules
	}
	if c.Name != nil {
		next.Name = *c.Name
	}
	if c.AllowedOrigins != nil {
		next.AllowedOrigins = *c.AllowedOrigins
	}
	if c.AllowNativeClients != nil {
		next.AllowNativeClients = *c.AllowNativeClients
	}
	if c.Access != nil {
		next.Access = *c.Access
	}
	if c.Quotas != nil {
		next.Quotas = *c.Quotas
	}
	if c.FirstOffset != nil {
		if *c.FirstOffset < old.newHead().floor {
			return refuse(codeConflict, "the first offset can only grow, and is %d by now", old.newHead().floor)
		}
		next.FirstOffset = *c.FirstOffset
	}
	if r := next.check(); r != nil {
		return r
	}
	a.setProject(&next)
	a.record(c.By, "project.update", c.ID, showChange(&old.Project, c), showChange(&next.Project, c))
	return nil
}

// check refuses values that are out of bounds.
func (p *Project) check() *refusal {
	if p.FirstOffset > MaxFirstOffset {
		return refuse(codeInvalid, "first offset %d", p.FirstOffset)
	}
	for i := range p.Rules {
		if r := p.Rules[i].Presence.check(); r != nil {
			return r
		}
	}
	if r := p.Access.check(); r != nil {
		return r
	}
	return p.Quotas.check()
}

func (a *application) deleteProject(c *DeleteProject) *refusal {
	id := c.ID
	p, ok := a.registry.project(id)
	if !ok {
		return refuse(codeNotFound, "project %q", id)
	}
	a.record(c.By, "project.delete", id, showProject(&p.Project), nil)
	for _, k := range a.registry.keys(id) {
		a.endKey(k)
	}
	a.registry.removeProject(id)
	a.gathering.set(bucketProjects, id, nil)
	a.gathering.set(bucketTombstones, id, wire.AppendBool(nil, false))
	if delete(a.counts, id); a.usage[id] != nil {
		delete(a.usage, id)
		a.gathering.set(bucketMeta, usageKey(id), nil)
	}
	for key, ch := range a.channels {
		if key.Project == id {
			a.drop(ch)
		}
	}
	a.events = append(a.events, func(o Observer) { o.ProjectChanged(id) })
	return nil
}

func (a *application) addKey(c *CreateKey) *refusal {
	if r := a.createKey(&c.Key); r != nil {
		return r
	}
	a.record(c.By, "key.create", c.Key.ID, nil, showKey(&c.Key))
	return nil
}

func (a *application) createKey(k *Key) *refusal {
	if _, ok := a.registry.project(k.Project); !ok {
		return refuse(codeNotFound, "project %q", k.Project)
	}
	if r := a.checkKey(k); r != nil {
		return r
	}
	k.CreatedAt = a.stamp
	a.setKey(k)
	return nil
}

func (a *application) rotateKey(c *RotateKey) *refusal {
	k := &c.Key
	old, ok := a.registry.key(k.Replaces)
	if !ok {
		return refuse(codeNotFound, "key %q", k.Replaces)
	}
	if c.Overlap < 0 || c.Overlap > math.MaxInt64-a.stamp {
		return refuse(codeInvalid, "overlap of %d ms", c.Overlap)
	}
	if k.Project != old.Project {
		return refuse(codeInvalid, "key %q of project %q", k.ID, k.Project)
	}
	if r := a.createKey(k); r != nil {
		return r
	}
	ending := *old
	ending.ExpiresAt = a.stamp + c.Overlap
	if old.ExpiresAt != 0 {
		ending.ExpiresAt = min(ending.ExpiresAt, old.ExpiresAt)
	}
	if c.Overlap == 0 {
		a.endKey(old)
	} else {
		a.setKey(&ending)
	}
	after := showKey(k)
	after.ReplacedEndsAt = ending.ExpiresAt
	a.record(c.By, "key.rotate", old.ID, showKey(old), after)
	return nil
}

func (a *application) revokeKey(c *RevokeKey) *refusal {
	k, ok := a.registry.key(c.ID)
	if !ok {
		return refuse(codeNotFound, "key %q", c.ID)
	}
	a.endKey(k)
	a.record(c.By, "key.revoke", c.ID, showKey(k), nil)
	return nil
}

// keysUsed records the last uses, none later than the cluster's time.
func (a *application) keysUsed(c *KeysUsed) {
	for _, use := range c.Used {
		at := min(use.At, a.stamp)
		if k, ok := a.registry.key(use.ID); ok && k.LastUsedAt < at {
			used := *k
			used.LastUsedAt = at
			a.setKey(&used)
		}
		if token, ok := a.admins.byID[use.ID]; ok && token.LastUsedAt < at {
			used := *token
			used.LastUsedAt = at
			a.setAdminToken(&used)
		}
	}
}

func (a *application) purgeChannel(c *PurgeChannel) (*refusal, error) {
	p, ok := a.registry.project(c.Channel.Project)
	if !ok {
		return refuse(codeNotFound, "project %q", c.Channel.Project), nil
	}
	if !namable(c.Channel.Name, maxChannelName) {
		return refuse(codeInvalid, "channel name of %d bytes", len(c.Channel.Name)), nil
	}
	ch, err := a.find(p, []byte(c.Channel.Name))
	if err != nil {
		return nil, err
	}
	if ch == nil {
		return refuse(codeNotFound, "channel %q of project %q", c.Channel.Name, p.ID), nil
	}
	ch.floor = ch.offset + 1
	a.gathering.setChannel(ch)
	a.record(c.By, "channel.purge", p.ID+"/"+c.Channel.Name, nil, nil)
	return nil, nil
}

// forgetChannels removes channels. A tombstone replaces each until the state file has none
// of it.
func (a *application) forgetChannels(c *ForgetChannels) (*refusal, error) {
	p, ok := a.registry.project(c.Project)
	if !ok {
		return refuse(codeNotFound, "project %q", c.Project), nil
	}
	if len(c.Names) == 0 || len(c.Names) > MaxForget {
		return refuse(codeInvalid, "%d channels to forget", len(c.Names)), nil
	}
	highest, forgotten := uint64(0), 0
	for _, name := range c.Names {
		if !namable(name, maxChannelName) {
			return refuse(codeInvalid, "channel name of %d bytes", len(name)), nil
		}
	}
	for _, name := range c.Names {
		ch, err := a.find(p, []byte(name))
		if err != nil {
			return nil, err
		}
		if ch == nil {
			continue
		}
		highest = max(highest, ch.offset)
		forgotten++
		a.placeTombstone(ch)
	}
	if forgotten == 0 {
		return refuse(codeNotFound, "channel %q of project %q", c.Names[0], p.ID), nil
	}
	if highest >= p.newHead().floor {
		// Only publishing depends on it, so observers are not notified.
		next := *p
		next.FirstOffset = highest + 1
		a.registry.setProject(&next)
		a.gathering.set(bucketProjects, p.ID, next.append(nil))
	}
	a.record(c.By, "channel.forget", p.ID+"/"+c.Names[0], nil, shownForgotten{forgotten, c.Names[len(c.Names)-1]})
	return nil, nil
}

// placeTombstone replaces a channel by a tombstone.
func (a *application) placeTombstone(ch *channel) {
	a.drop(ch)
	tomb := &channel{key: ch.key, head: head{floor: forgotten}}
	a.pin(tomb)
	a.gathering.setChannel(tomb)
	if count, ok := a.counts[ch.key.Project]; ok {
		a.counts[ch.key.Project] = count - 1
	}
}

// drop removes a resident channel. Its changes are not written any more.
func (a *application) drop(ch *channel) {
	ch.dropped = true
	delete(a.channels, ch.key)
	a.cache.remove(ch)
}

// checkKey refuses a new key that conflicts or is out of bounds.
func (a *application) checkKey(k *Key) *refusal {
	if k.ID == "" {
		return refuse(codeInvalid, "empty key id")
	}
	if k.ExpiresAt != 0 && k.ExpiresAt <= a.stamp {
		return refuse(codeInvalid, "key %q that ends before it begins", k.ID)
	}
	if _, taken := a.registry.key(k.ID); taken {
		return refuse(codeConflict, "key %q exists", k.ID)
	}
	if _, taken := a.registry.keyByHash(k.Hash); taken {
		return refuse(codeConflict, "text of key %q exists", k.ID)
	}
	return nil
}

func (a *application) setProject(p *project) {
	a.registry.setProject(p)
	a.gathering.set(bucketProjects, p.ID, p.append(nil))
	a.events = append(a.events, func(o Observer) { o.ProjectChanged(p.ID) })
}

func (a *application) setKey(k *Key) {
	a.registry.setKey(k)
	a.gathering.set(bucketKeys, k.ID, appendStoredKey(nil, k))
}

// endKey removes a key that was revoked, replaced or expired.
func (s *State) endKey(k *Key) {
	s.registry.removeKey(k)
	s.gathering.set(bucketKeys, k.ID, nil)
	s.events = append(s.events, func(o Observer) { o.KeyEnded(*k) })
}
