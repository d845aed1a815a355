package admin

import (
	"fmt"
	"net/http"
	"time"
	"unicode"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

const (
	maxName        = 100 // bytes of a project's or key's name
	defaultOverlap = 24 * time.Hour
)

type projectJSON struct {
	ID                 string     `json:"id"`
	Name               string     `json:"name"`
	AllowedOrigins     []string   `json:"allowedOrigins"`
	AllowNativeClients bool       `json:"allowNativeClients"`
	Rules              []ruleJSON `json:"rules"`
	Access             accessJSON `json:"access"`
	Quotas             quotasJSON `json:"quotas"`
	FirstOffset        uint64     `json:"firstOffset"`
	CreatedAt          int64      `json:"createdAt"`
	Keys               []keyJSON  `json:"keys"`
}

type keyJSON struct {
	ID            string        `json:"id"`
	Kind          fsm.KeyKind   `json:"kind"`
	Name          string        `json:"name"`
	Key           string        `json:"key,omitempty"` // full text, where it may be shown
	Prefix        string        `json:"prefix,omitempty"`
	SigningSecret string        `json:"signingSecret,omitempty"` // of a server key, when it is made
	Imported      bool          `json:"imported,omitempty"`      // made elsewhere, without our checksum
	CreatedAt     int64         `json:"createdAt"`
	LastUsedAt    int64         `json:"lastUsedAt,omitempty"`
	ExpiresAt     int64         `json:"expiresAt,omitempty"`
	Connections   *int          `json:"connections,omitempty"` // that use it now, where one project is shown
	Replaces      *replacesJSON `json:"replaces,omitempty"`
}

type replacesJSON struct {
	ID        string `json:"id"`
	ExpiresAt int64  `json:"expiresAt"`
}

func showProject(p *fsm.Project, keys []keyJSON) projectJSON {
	origins := p.AllowedOrigins
	if origins == nil {
		origins = []string{}
	}
	return projectJSON{
		p.ID, p.Name, origins, p.AllowNativeClients, showRules(p.Rules),
		showAccess(p.Access), quotasJSON(p.Quotas), max(p.FirstOffset, 1), p.CreatedAt, keys,
	}
}

// showIssued shows a key at the only moment that its text is known.
func showIssued(k IssuedKey) keyJSON {
	return keyJSON{
		ID: k.ID, Kind: k.Kind, Name: k.Name, Key: k.Secret, SigningSecret: k.SigningSecret,
		Imported: k.Imported, CreatedAt: k.CreatedAt,
	}
}

func showKeys(keys []fsm.Key) []keyJSON {
	shown := make([]keyJSON, len(keys))
	for i, k := range keys {
		shown[i] = keyJSON{
			ID: k.ID, Kind: k.Kind, Name: k.Name, Key: k.Text, Prefix: k.Prefix, Imported: k.Imported,
			CreatedAt: k.CreatedAt, LastUsedAt: k.LastUsedAt, ExpiresAt: k.ExpiresAt,
		}
	}
	return shown
}

// project returns the project that a call's path names.
func (h *Handler) project(r *http.Request) (*fsm.Project, error) {
	project, found := h.cfg.Broker.Project(r.PathValue("id"))
	if !found {
		return nil, refusal.New(refusal.NotFound, "no such project")
	}
	return project, nil
}

func (h *Handler) listProjects(r *http.Request) (int, any, error) {
	cursor, limit, _, err := listQuery(r)
	if err != nil {
		return 0, nil, err
	}
	found, next := cutPage(h.cfg.Broker.Projects(cursor, limit+1), limit, func(p *fsm.Project) string { return p.ID })
	projects := make([]projectJSON, len(found))
	for i, p := range found {
		projects[i] = showProject(p, showKeys(h.cfg.Broker.Keys(p.ID)))
	}
	return http.StatusOK, struct {
		Projects []projectJSON `json:"projects"`
		Next     string        `json:"next"`
	}{projects, next}, nil
}

func (h *Handler) getProject(r *http.Request) (int, any, error) {
	project, err := h.project(r)
	if err != nil {
		return 0, nil, err
	}
	use, err := h.cfg.Broker.KeyConnections(r.Context(), project.ID)
	if err != nil {
		return 0, nil, err
	}
	keys := showKeys(h.cfg.Broker.Keys(project.ID))
	for i := range keys {
		count := use[keys[i].ID]
		keys[i].Connections = &count
	}
	return http.StatusOK, showProject(project, keys), nil
}

var (
	newProjectShape = strictjson.Shape{Strict: true, Names: []string{"name", "allowedOrigins", "allowNativeClients"}}
	projectShape    = strictjson.Shape{Strict: true, Names: []string{
		"name", "allowedOrigins", "allowNativeClients", "rules", "access", "quotas", "firstOffset",
	}}
	newKeyShape = strictjson.Shape{Strict: true, Names: []string{"kind", "name", "key"}}
	rotateShape = strictjson.Shape{Strict: true, Names: []string{"overlap"}}
)

// readProject reads the fields of a project from a body.
func (h *Handler) readProject(r *http.Request, shape *strictjson.Shape) (fsm.UpdateProject, error) {
	var change fsm.UpdateProject
	var values [7][]byte
	if err := h.body(r, shape, values[:]); err != nil {
		return change, err
	}
	if values[0] != nil {
		name, err := parseName(values[0])
		if err != nil {
			return change, err
		}
		change.Name = &name
	}
	if values[1] != nil {
		origins, err := auth.ParseOrigins(values[1])
		if err != nil {
			return change, refusal.New(refusal.InvalidMessage, err.Error())
		}
		change.AllowedOrigins = &origins
	}
	if values[2] != nil {
		allow := string(values[2]) == "true"
		if !allow && string(values[2]) != "false" {
			return change, refusal.New(refusal.InvalidMessage, "allowNativeClients is neither true nor false")
		}
		change.AllowNativeClients = &allow
	}
	if values[3] != nil {
		rules, err := parseRules(values[3])
		if err != nil {
			return change, refusal.New(refusal.InvalidMessage, err.Error())
		}
		change.Rules = &rules
	}
	if values[4] != nil {
		access, err := parseAccess(values[4])
		if err != nil {
			return change, refusal.New(refusal.InvalidMessage, err.Error())
		}
		change.Access = &access
	}
	if values[5] != nil {
		quotas, err := parseQuotas(values[5])
		if err != nil {
			return change, refusal.New(refusal.InvalidMessage, err.Error())
		}
		change.Quotas = &quotas
	}
	if values[6] != nil {
		first, ok := strictjson.WholeNumber(values[6])
		if !ok || first < 1 || first > fsm.MaxFirstOffset {
			return change, refusal.New(refusal.InvalidMessage,
				fmt.Sprintf("firstOffset is not a whole number from 1 to %d", uint64(fsm.MaxFirstOffset)))
		}
		change.FirstOffset = &first
	}
	return change, nil
}

func parseName(raw []byte) (string, error) {
	name, ok := strictjson.Unquote(raw)
	if !ok || name == "" || len(name) > maxName {
		return "", refusal.New(refusal.InvalidMessage, fmt.Sprintf("name is not a string of 1 to %d bytes", maxName))
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return "", refusal.New(refusal.InvalidMessage, "name has a control character")
		}
	}
	return name, nil
}

func (h *Handler) createProject(r *http.Request) (int, any, error) {
	fields, err := h.readProject(r, &newProjectShape)
	if err != nil {
		return 0, nil, err
	}
	if fields.Name == nil {
		return 0, nil, refusal.New(refusal.InvalidMessage, "name is missing")
	}
	spec := ProjectSpec{Name: *fields.Name}
	if fields.AllowedOrigins != nil {
		spec.AllowedOrigins = *fields.AllowedOrigins
	}
	if fields.AllowNativeClients != nil {
		spec.AllowNativeClients = *fields.AllowNativeClients
	}
	project, issued, err := h.cfg.Broker.CreateProject(r.Context(), actorOf(r), spec)
	if err != nil {
		return 0, nil, err
	}
	keys := make([]keyJSON, len(issued))
	for i, k := range issued {
		keys[i] = showIssued(k)
	}
	return http.StatusCreated, showProject(project, keys), nil
}

func (h *Handler) updateProject(r *http.Request) (int, any, error) {
	change, err := h.readProject(r, &projectShape)
	if err != nil {
		return 0, nil, err
	}
	change.By, change.ID = actorOf(r), r.PathValue("id")
	project, err := h.cfg.Broker.UpdateProject(r.Context(), change)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, showProject(project, showKeys(h.cfg.Broker.Keys(project.ID))), nil
}

func (h *Handler) deleteProject(r *http.Request) (int, any, error) {
	if err := h.cfg.Broker.DeleteProject(r.Context(), actorOf(r), r.PathValue("id")); err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, nil
}

func (h *Handler) createKey(r *http.Request) (int, any, error) {
	var values [3][]byte
	if err := h.body(r, &newKeyShape, values[:]); err != nil {
		return 0, nil, err
	}
	text, _ := strictjson.Unquote(values[0])
	kind := fsm.KeyKind(text)
	if kind != fsm.PublicKey && kind != fsm.ServerKey {
		return 0, nil, refusal.New(refusal.InvalidMessage, `kind is neither "public" nor "server"`)
	}
	spec := KeySpec{Kind: kind, Name: string(kind)}
	if values[1] != nil {
		var err error
		if spec.Name, err = parseName(values[1]); err != nil {
			return 0, nil, err
		}
	}
	if values[2] != nil {
		var err error
		spec.Text, _ = strictjson.Unquote(values[2])
		if spec.Imported, err = auth.ImportKeyText(kind, spec.Text); err != nil {
			return 0, nil, refusal.New(refusal.InvalidMessage, "key: "+err.Error())
		}
	}
	issued, err := h.cfg.Broker.CreateKey(r.Context(), actorOf(r), r.PathValue("id"), spec)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, showIssued(issued), nil
}

func (h *Handler) rotateKey(r *http.Request) (int, any, error) {
	var values [1][]byte
	if err := h.body(r, &rotateShape, values[:]); err != nil {
		return 0, nil, err
	}
	overlap := defaultOverlap
	if values[0] != nil {
		var err error
		if overlap, err = parseOverlap(values[0]); err != nil {
			return 0, nil, err
		}
	}
	issued, old, err := h.cfg.Broker.RotateKey(r.Context(), actorOf(r), r.PathValue("id"), overlap)
	if err != nil {
		return 0, nil, err
	}
	shown := showIssued(issued)
	shown.Replaces = &replacesJSON{old.ID, old.ExpiresAt}
	return http.StatusCreated, shown, nil
}

// parseOverlap reads a duration; the number 0 needs no unit.
func parseOverlap(raw []byte) (time.Duration, error) {
	if string(raw) == "0" {
		return 0, nil
	}
	overlap, err := parseDuration(raw)
	if err != nil {
		return 0, refusal.New(refusal.InvalidMessage, "overlap: "+err.Error())
	}
	return overlap, nil
}

func (h *Handler) revokeKey(r *http.Request) (int, any, error) {
	if err := h.cfg.Broker.RevokeKey(r.Context(), actorOf(r), r.PathValue("id")); err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, nil
}
