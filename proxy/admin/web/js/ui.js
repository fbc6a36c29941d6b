// Preact and htm, under the names that the dashboard uses. The files are in vendor/, unchanged; index.html loads them first.
const { h, render, Fragment, createContext } = globalThis.preact;
const { useState, useEffect, useLayoutEffect, useMemo, useRef, useCallback, useContext, useReducer, useId } = globalThis.preactHooks;
const html = globalThis.htm.bind(h);

export { h, html, render, Fragment, createContext };
export { useState, useEffect, useLayoutEffect, useMemo, useRef, useCallback, useContext, useReducer, useId };
