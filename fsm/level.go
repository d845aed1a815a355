package fsm

// Feature levels let a cluster be upgraded node by node: a program announces Level,
// and a command is used only when every member announces at least the level that the
// command belongs to. So a new command, or a new version of one, comes with a new
// Level and an entry in levels.

// Level is the feature level of this program.
const Level = 2

// levels are those of commands, by op and version, that not all programs know.
var levels = map[[2]byte]uint32{
	{byte(opInit), importVersion}:               2,
	{byte(opCreateKey), importVersion}:          2,
	{byte(opUpdateProject), firstOffsetVersion}: 2,
	{byte(opForgetChannels), controlVersion}:    2,
}

// LevelOf returns the feature level from which on a command is known.
func LevelOf(command []byte) uint32 {
	if len(command) >= 2 {
		if level, ok := levels[[2]byte(command)]; ok {
			return level
		}
	}
	return 1
}
