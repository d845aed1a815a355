/** lifeOf reads when a JWT was made and when it ends, in milliseconds; nothing when it is none or never ends. */
export function lifeOf(token: string): { from: number; to: number } | undefined {
  try {
    const body = JSON.parse(atob(token.split('.')[1]!.replace(/-/g, '+').replace(/_/g, '/')));
    if (typeof body.exp === 'number') return { from: (body.iat ?? Date.now() / 1000) * 1000, to: body.exp * 1000 };
  } catch {
    // a key, or another kind of token
  }
  return undefined;
}
