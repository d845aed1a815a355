package fsm

import "encoding/binary"

// Feature levels allow an upgrade node by node. Each program announces Level, and a command
// is used only when every member announces at least the command's level. A new command, or
// a new version of one, therefore comes with a new Level and an entry in levels.

// Level is the feature level of this program.
const Level = 2

// levels holds the level of each command, by op and version, that not all programs know.
var levels = map[[2]byte]uint32{
	{byte(opInit), importVersion}:                 2,
	{byte(opCreateKey), importVersion}:            2,
	{byte(opUpdateProject), firstOffsetVersion}:   2,
	{byte(opUpdateProject), subscriptionsVersion}: 2,
	{byte(opUpdateProject), presenceVersion}:      2,
	{byte(opForgetChannels), controlVersion}:      2,
	{byte(opAddUsage), controlVersion}:            2,
}

// LevelOf returns the feature level at which a command became known.
func LevelOf(command []byte) uint32 {
	level := uint32(1)
	if len(command) < 2 {
		return level
	}
	if known, ok := levels[[2]byte{command[0], command[1] &^ sentBit}]; ok {
		level = known
	}
	if command[1]&sentBit != 0 {
		level = max(level, SenderLevel)
	}
	return level
}

// NoOp returns a command that changes nothing and that every version knows.
func NoOp() []byte { return KeysUsed{}.Encode() }

// Level returns the highest feature level of a command applied so far. Every member has at
// least this level.
func (s *State) Level() uint32 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.level
}

// raiseLevel records that a command of a level was applied.
func (s *State) raiseLevel(level uint32) {
	s.level = level
	s.gathering.set(bucketMeta, string(metaLevel), binary.AppendUvarint(nil, uint64(level)))
}
