package node

import "context"

// keyConnectionsQuestion asks how many connections each key of a project has. The answer
// maps key ids to numbers.
type keyConnectionsQuestion struct {
	Project string `json:"project"`
}

// KeyConnections implements admin.Operator.
func (n *Node) KeyConnections(ctx context.Context, project string) (map[string]int, error) {
	sum := n.gateway.KeyConnections(project)
	others, err := askPeers[counts](ctx, n, question{KeyConnections: &keyConnectionsQuestion{project}})
	if err != nil {
		return nil, err
	}
	for _, counts := range others {
		for key, count := range counts {
			sum[key] += count
		}
	}
	return sum, nil
}
