// Entry of the dashboard page.
import { mount } from 'svelte'
import Dashboard from '../pages/Dashboard.svelte'
import '../ui/theme.css'

const target = document.getElementById('app')
if (target) mount(Dashboard, { target })
