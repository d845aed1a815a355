// Who is signed in, and what they may do.

const ranks = { viewer: 1, operator: 2, owner: 3 };

export const session = { id: '', name: '', role: '', expiresAt: 0 };

export const may = (role) => (ranks[session.role] ?? 0) >= ranks[role];
