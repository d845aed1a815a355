package fsm

import "math"

// control applies any command but Publish.
func (a *application) control(command any) *refusal {
	switch c := command.(type) {
	case *Init:
		return a.init(c)
	case *CreateProject:
		return a.createProject(&c.Project, c.Keys)
	case *UpdateProject:
		return a.updateProject(c)
	case *DeleteProject:
		return a.deleteProject(c.ID)
	case *CreateKey:
		return a.createKey(&c.Key)
	case *RotateKey:
		return a.rotateKey(&c.Key, c.Overlap)
	case *RevokeKey:
		k, ok := a.directory.key(c.ID)
		if !ok {
			return refuse(codeNotFound, "key %q", c.ID)
		}
		a.endKey(k)
	case *UpdateSettings:
		return a.updateSettings(c)
	}
	return nil
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
	a.cluster = cluster{c.ClusterID, c.Epoch, c.AdminTokenHash, true}
	a.changes.set(bucketMeta, string(metaCluster), a.cluster.append(nil))
	return nil
}

func (a *application) createProject(p *Project, keys []Key) *refusal {
	if !namable(p.ID, maxProjectID) {
		return refuse(codeInvalid, "project id of %d bytes", len(p.ID))
	}
	_, taken := a.directory.project(p.ID)
	if _, gone := a.directory.gone[p.ID]; taken || gone {
		return refuse(codeConflict, "project %q", p.ID)
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
			return refuse(codeConflict, "key %q", k.ID)
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
	old, ok := a.directory.project(c.ID)
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
	a.setProject(&next)
	return nil
}

func (a *application) deleteProject(id string) *refusal {
	if _, ok := a.directory.project(id); !ok {
		return refuse(codeNotFound, "project %q", id)
	}
	for _, k := range a.directory.keys(id) {
		a.endKey(k)
	}
	a.directory.removeProject(id)
	a.changes.set(bucketProjects, id, nil)
	a.changes.set(bucketGone, id, appendBool(nil, false))
	for key, ch := range a.channels {
		if key.Project == id {
			ch.dropped = true
			delete(a.channels, key)
			delete(a.unborn, key)
			a.cache.remove(ch)
		}
	}
	a.events = append(a.events, func(o Observer) { o.ProjectChanged(id) })
	return nil
}

func (a *application) createKey(k *Key) *refusal {
	if _, ok := a.directory.project(k.Project); !ok {
		return refuse(codeNotFound, "project %q", k.Project)
	}
	if r := a.checkKey(k); r != nil {
		return r
	}
	k.CreatedAt = a.stamp
	a.setKey(k)
	return nil
}

func (a *application) rotateKey(k *Key, overlap int64) *refusal {
	old, ok := a.directory.key(k.Replaces)
	if !ok {
		return refuse(codeNotFound, "key %q", k.Replaces)
	}
	if overlap < 0 || overlap > math.MaxInt64-a.stamp {
		return refuse(codeInvalid, "overlap of %d ms", overlap)
	}
	if k.Project != old.Project {
		return refuse(codeInvalid, "key %q of project %q", k.ID, k.Project)
	}
	if r := a.createKey(k); r != nil {
		return r
	}
	if overlap == 0 {
		a.endKey(old)
		return nil
	}
	ending := *old
	ending.ExpiresAt = a.stamp + overlap
	if old.ExpiresAt != 0 {
		ending.ExpiresAt = min(ending.ExpiresAt, old.ExpiresAt)
	}
	a.setKey(&ending)
	return nil
}

// checkKey reports what keeps a new key from being added.
func (a *application) checkKey(k *Key) *refusal {
	if k.ID == "" {
		return refuse(codeInvalid, "empty key id")
	}
	if k.ExpiresAt != 0 && k.ExpiresAt <= a.stamp {
		return refuse(codeInvalid, "key %q that ends before it begins", k.ID)
	}
	if _, taken := a.directory.key(k.ID); taken {
		return refuse(codeConflict, "key %q", k.ID)
	}
	if _, taken := a.directory.keyByHash(k.Hash); taken {
		return refuse(codeConflict, "text of key %q", k.ID)
	}
	return nil
}

func (a *application) setProject(p *project) {
	a.directory.setProject(p)
	a.changes.set(bucketProjects, p.ID, p.append(nil))
	a.events = append(a.events, func(o Observer) { o.ProjectChanged(p.ID) })
}

func (a *application) setKey(k *Key) {
	a.directory.setKey(k)
	a.changes.set(bucketKeys, k.ID, appendKey(nil, k))
}

// endKey removes a key, for whatever reason.
func (s *State) endKey(k *Key) {
	s.directory.removeKey(k)
	s.changes.set(bucketKeys, k.ID, nil)
	s.events = append(s.events, func(o Observer) { o.KeyEnded(*k) })
}
