package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
)

func newProject() *cobra.Command {
	return group("project", "Manage projects", newProjectCreate(), newProjectList(), newProjectUpdate(),
		newProjectUsage(), newProjectCheckOrigin(), newProjectDelete())
}

func newProjectCreate() *cobra.Command {
	var r remote
	var spec client.ProjectSpec
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a project with a public and a server key",
		Args:  cobra.ExactArgs(1),
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, args []string) error {
			spec.Name = args[0]
			project, err := admin.CreateProject(ctx, spec)
			if err != nil {
				return err
			}
			return show(cmd, r.json, project, func(p *printer) {
				p.line("project\t%s", project.ID)
				for _, k := range project.Keys {
					p.line("%s key\t%s", k.Kind, k.Text)
					if k.SigningSecret != "" {
						p.line("signing secret\t%s", k.SigningSecret)
					}
				}
				p.line("")
				p.line("The server key and its signing secret are shown once, so keep them.")
			})
		}),
	}
	r.addAdminFlags(cmd)
	cmd.Flags().StringSliceVar(&spec.AllowedOrigins, "origin", nil,
		"origin that browsers may come from, such as https://app.example.com (repeatable)")
	cmd.Flags().BoolVar(&spec.AllowNativeClients, "native", false, "allow clients that send no origin")
	return cmd
}

func newProjectList() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the projects",
		Args:  cobra.NoArgs,
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, _ []string) error {
			projects, err := collect(admin.Projects(ctx), 0)
			if err != nil {
				return err
			}
			return show(cmd, r.json, projects, func(p *printer) {
				p.line("ID\tNAME\tORIGINS\tNATIVE\tCREATED")
				for _, project := range projects {
					p.line("%s\t%s\t%s\t%v\t%s", project.ID, project.Name,
						strings.Join(project.AllowedOrigins, " "), project.AllowNativeClients, moment(project.CreatedAt))
				}
			})
		}),
	}
	r.addAdminFlags(cmd)
	return cmd
}

func newProjectDelete() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "delete PROJECT",
		Short: "Delete a project: its keys end, its channels go",
		Args:  cobra.ExactArgs(1),
		RunE: r.withAdmin(func(ctx context.Context, cmd *cobra.Command, admin *client.Admin, args []string) error {
			project, err := findProject(ctx, admin, args[0])
			if err != nil {
				return err
			}
			if err := admin.DeleteProject(ctx, project.ID); err != nil {
				return err
			}
			return show(cmd, r.json, map[string]string{"deleted": project.ID}, func(p *printer) {
				p.line("deleted project %s (%s) with all its channels; keys ended: %d", project.Name, project.ID, len(project.Keys))
			})
		}),
	}
	r.addAdminFlags(cmd)
	return cmd
}

// findProject returns the project with an id, or the only one with a name.
func findProject(ctx context.Context, admin *client.Admin, idOrName string) (client.Project, error) {
	var named []client.Project
	for project, err := range admin.Projects(ctx) {
		if err != nil {
			return client.Project{}, err
		}
		if project.ID == idOrName {
			return admin.Project(ctx, project.ID)
		}
		if project.Name == idOrName {
			named = append(named, project)
		}
	}
	switch len(named) {
	case 0:
		return client.Project{}, fmt.Errorf("no project has the id or name %q", idOrName)
	case 1:
		return admin.Project(ctx, named[0].ID)
	default:
		return client.Project{}, fmt.Errorf("%d projects have the name %q: use the id", len(named), idOrName)
	}
}
