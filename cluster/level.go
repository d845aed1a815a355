package cluster

// FeatureLevel is the highest level that every member announces: the least of what
// each is known to have announced, at its last start that this node heard of. A
// member that nothing is known of counts as of level 1.
func (c *Cluster) FeatureLevel() uint32 {
	config, _, err := c.configuration()
	if err != nil {
		return 1
	}
	level := c.cfg.FeatureLevel
	for _, s := range config.Servers {
		if string(s.ID) != c.id {
			level = min(level, max(c.directory.feature(string(s.ID)), 1))
		}
	}
	return level
}
